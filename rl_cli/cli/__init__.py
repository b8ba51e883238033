"""The commands: rl-train, rl-eval and the others. Only this package imports Hydra."""
