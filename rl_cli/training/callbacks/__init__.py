"""Callbacks: metrics, evaluation, checkpoints, videos, early stopping, and their shared helpers."""

from rl_cli.training.callbacks.base import Callback
from rl_cli.training.callbacks.triggers import Trigger

__all__ = ["Callback", "Trigger"]
