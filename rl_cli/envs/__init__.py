"""Environments: construction from a configuration, preprocessing, vectorization, normalization."""
