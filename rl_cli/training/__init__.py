"""The training loop, the callbacks, and building, running and resuming a run."""
