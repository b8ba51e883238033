"""Callbacks: metrics, evaluation, checkpoints, videos, early stopping, and their shared helpers."""
