"""Train, evaluate and compare deep-RL agents from the command line and from Python.

`train`, `evaluate`, `load` and `read` do what the commands do (docs/python.md). They are imported when they are
used, so that `import rl_cli` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_cli.api.evaluation import evaluate, load
    from rl_cli.api.records import Run, Table, read
    from rl_cli.api.training import TrainedRun, train
    from rl_cli.api.videos import Video
    from rl_cli.core.errors import BadInput, EnvFault, NonFinite, RunError, StorageError
    from rl_cli.evaluation.agent import Agent
    from rl_cli.evaluation.replay import Evaluation

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "BadInput",
    "EnvFault",
    "Evaluation",
    "NonFinite",
    "Run",
    "RunError",
    "StorageError",
    "Table",
    "TrainedRun",
    "Video",
    "evaluate",
    "load",
    "read",
    "train",
]

_MODULES = {
    "rl_cli.api.training": ("TrainedRun", "train"),
    "rl_cli.api.evaluation": ("evaluate", "load"),
    "rl_cli.api.records": ("Run", "Table", "read"),
    "rl_cli.api.videos": ("Video",),
    "rl_cli.core.errors": ("BadInput", "EnvFault", "NonFinite", "RunError", "StorageError"),
    "rl_cli.evaluation.agent": ("Agent",),
    "rl_cli.evaluation.replay": ("Evaluation",),
}
"""Where each name of the package is defined."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
