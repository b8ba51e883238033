"""Sinks: where the logger writes rows. One file a sink; `log.sinks` chooses the additional ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from rl_cli.core.types import Episode


class SinkContext(NamedTuple):
    """What a sink is built from."""

    folder: Path  # of the run
    hparams: Mapping[str, object]  # flat name -> value: seed, total_timesteps, algo.*, env.*
    resumed_at: int | None  # env step a resumed run continues from; None: a new run


class Sink(Protocol):
    """Writes the rows of a run to one destination. The constructor takes a `SinkContext`.

    Raises:
        StorageError: by every method; the run continues without this row and retries later.

    """

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        """A row of training metrics: tag -> value."""

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        """Evaluation episodes (episode i was reset with `seed + i`) and their summary."""

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        """Remove later rows and evaluations, which a resumed run writes again."""

    def flush(self) -> None:
        """Bring everything written to the disk."""

    def close(self) -> None:
        """Flush and release resources."""
