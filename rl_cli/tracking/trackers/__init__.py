"""Trackers: Weights & Biases, Trackio and MLflow receive what metrics.csv gets, from a process of their own.

The process of the run never imports a tracker and never waits for one before it ends.
"""
