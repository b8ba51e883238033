"""Sinks: destinations of the logger's rows. `log.sinks` chooses additional ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from rl_cli.core import terminal
from rl_cli.core.types import Episode


class SinkContext(NamedTuple):
    """First argument of a sink's constructor."""

    folder: Path  # of the run
    hparams: Mapping[str, object]  # flat name -> value: algo, env, seed, algo.*, env.*, ...
    resumed_at: int | None  # env step a resumed run continues from; None: a new run
    differ: Sequence[str] = ()  # names in `hparams` that distinguish the runs of a sweep
    notify: Callable[[str], None] = terminal.warn  # prints a line


class Sink(Protocol):
    """Writes the rows of a run to one destination. The constructor is `Class(context, **settings)`.

    Every method has a default that does nothing, for subclasses.

    Raises:
        StorageError: by every method. The run continues; the sinks after this one do not receive the
            row, and this one should keep it and write it with the next row.

    """

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        """Write a row of training metrics: tag -> value."""

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        """Write evaluation episodes (episode i was reset with `seed + i`) and their summary."""

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        """Remove rows and evaluations of later steps, which a resumed run writes again."""

    def flush(self) -> None:
        """Sync everything written to the disk."""

    def close(self) -> None:
        """Flush and release resources."""
