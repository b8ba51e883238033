"""The commands rl-train, rl-eval and rl-play. Only this package imports Hydra."""
