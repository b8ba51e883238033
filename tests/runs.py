"""Running a composed configuration in this process."""

from __future__ import annotations

from rl_cli import algos
from rl_cli.training import experiment


def train(config, labels):
    """Train with composed plain values, as `rl-train` does. -> Outcome."""
    return experiment.train(algos.build_run_config(config), config, labels)


def only_run(folder):
    """The folder of the only run below `folder`."""
    (found,) = folder.glob("runs/*/*/*/status.json")
    return found.parent
