"""Registries of the callbacks and sinks that a configuration can choose. Does not import torch.

The keys are `callbacks.<name>.<setting>` and `log.sinks.<name>.<setting>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.plugins import Registry

if TYPE_CHECKING:
    from rl_cli.tracking.sinks import Sink, SinkContext
    from rl_cli.training.callbacks.base import Callback, CallbackContext

BUILT_IN = ("video", "metrics", "evaluation", "checkpoint", "early_stopping", "advice")
"""Callbacks of every run; the names of their modules and of their states."""

CALLBACKS: Registry[Callback] = Registry(
    "callback",
    "callbacks.{}",
    "rl_cli.training.callbacks",
    {
        *("base", "triggers", "disk_retry", "reporter", "history"),
        *BUILT_IN,
    },
    "rl_cli.callbacks",
    lambda cls: hasattr(cls, "next_due"),
)
SINKS: Registry[Sink] = Registry(
    "sink",
    "log.sinks.{}",
    "rl_cli.tracking",
    {
        *(
            "logger",
            "episode_columns",
            "console",
            "display",
            "live",
            "formatting",
            "statistics",
            "sinks",
        ),
        *("csv_table", "csv_reader", "tensorboard", "hparams"),  # always; by log.tensorboard
        "trackers",  # by log.wandb, log.trackio, log.mlflow
    },
    "rl_cli.sinks",
    lambda cls: hasattr(cls, "write_row"),
)


class Plugins(NamedTuple):
    """Constructors of what `callbacks` and `log.sinks` choose."""

    callbacks: list[Callable[[CallbackContext], Callback]]
    sinks: list[Callable[[SinkContext], Sink]]


def find_plugins(cfg: RunConfig) -> Plugins:
    """Look up the callbacks and sinks that the configuration chooses.

    Raises:
        BadInput: unknown name, or settings that it does not take.

    """
    callbacks = CALLBACKS.factories(cfg.callbacks)
    _refuse_equal_names(cfg)
    return Plugins(callbacks, SINKS.factories(cfg.log.sinks))


def _refuse_equal_names(cfg: RunConfig) -> None:
    """A callback's `name` is the key of its state in a checkpoint."""
    taken = dict.fromkeys(BUILT_IN, "a callback of every run")
    for key in cfg.callbacks:
        name = getattr(CALLBACKS.load(key), "name", None)
        if not isinstance(name, str) or name in taken:
            needs = f"has the name of {taken[name]}" if name in taken else "has no name"
            raise BadInput(
                f"the callback {key} {needs}",
                f"callbacks.{key}",
                "give its class an attribute `name` of its own, a string",
            )
        taken[name] = f"the callback {key}"
