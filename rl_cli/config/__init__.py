"""The typed configuration: every key with its type, range and meaning. Numbers are in `conf/`.

No module of this package imports torch.
"""
