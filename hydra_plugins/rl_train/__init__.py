"""Hydra's plugins of rl-cli: launchers and a sweeper, one file each.

Hydra imports every module in here whenever it starts, and may execute a module twice: a module contains
one class and its settings, and imports nothing that is slow. Base classes are in `rl_cli.cli.launcher`.
"""
