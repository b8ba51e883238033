"""Episodes with a fixed policy: evaluation, rl-eval, videos, and rl-play."""
