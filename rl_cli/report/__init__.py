"""Comparison of many runs, computed from their run folders."""
