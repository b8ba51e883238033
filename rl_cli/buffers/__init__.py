"""Storage of experience: uniform and prioritized replay, n-step, rollouts, stacked frames."""
