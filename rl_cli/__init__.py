"""Train, watch, trust and compare deep-RL agents from the command line."""

__version__ = "0.1.0"
