"""Callbacks and sinks that `callbacks.<name>` and `log.sinks.<name>` choose. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rl_cli.config.run import RunConfig
from rl_cli.core.plugins import Registry

if TYPE_CHECKING:
    from rl_cli.tracking.sinks import Sink, SinkContext
    from rl_cli.training.callbacks.base import Callback, CallbackContext

CALLBACKS: Registry[Callback] = Registry(
    "callback",
    "callbacks.{}",
    "rl_cli.training.callbacks",
    {
        *("base", "triggers", "disk_retry", "reporter", "history"),
        *("video", "metrics", "evaluation", "checkpoint", "early_stopping"),  # every run has them
    },
    "rl_cli.callbacks",
    lambda cls: hasattr(cls, "next_due"),
)
SINKS: Registry[Sink] = Registry(
    "sink",
    "log.sinks.{}",
    "rl_cli.tracking",
    {
        *("logger", "console", "formatting", "statistics", "sinks"),
        *("csv_table", "tensorboard"),  # log.tensorboard chooses the second
    },
    "rl_cli.sinks",
    lambda cls: hasattr(cls, "write_row"),
)


class Plugins(NamedTuple):
    """Constructors of what `callbacks` and `log.sinks` choose."""

    callbacks: list[Callable[[CallbackContext], Callback]]
    sinks: list[Callable[[SinkContext], Sink]]


def find_plugins(cfg: RunConfig) -> Plugins:
    """Look up what the configuration chooses.

    Raises:
        BadInput: unknown name, or settings that it does not take.

    """
    return Plugins(CALLBACKS.factories(cfg.callbacks), SINKS.factories(cfg.log.sinks))
