"""Evaluation episodes, videos, rl-eval (`replay`) and rl-play (`play`)."""
