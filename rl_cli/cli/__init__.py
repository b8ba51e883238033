"""The commands: the only rooms that know Hydra."""
