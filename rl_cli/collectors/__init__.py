"""Collectors: act, step the envs and store transitions; eager in Python, native with C between env steps."""
