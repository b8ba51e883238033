"""TensorBoard event files: the rows of metrics.csv as curves, and the HPARAMS tab."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core.errors import StorageError, plain
from rl_cli.core.types import Episode
from rl_cli.storage.atomic_files import storing
from rl_cli.tracking.hparams import end_summary, start_summaries
from rl_cli.tracking.sinks import SinkContext


class TensorBoardSink:
    """Writes event files to `tb/`.

    The files are opened at the first write, because importing the package is slow. After a write fails, that
    is reported and no more events are written: an event file with an incomplete record cannot be appended to.
    The run continues, and metrics.csv has the same rows.
    """

    def __init__(self, context: SinkContext) -> None:
        self.context = context
        self.events: EventFiles | None = None
        self.failed = False

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        self._use(lambda events: events.scalars(row, step))

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        self._use(lambda events: events.scalars(row, step))

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        """TensorBoard ignores events after the step that the run resumed from (`purge_step`)."""

    def flush(self) -> None:
        self._use(lambda events: events.flush())

    def close(self) -> None:
        self._use(lambda events: events.close())

    def _use(self, action: Callable[[EventFiles], None]) -> None:
        if self.failed:
            return
        try:
            if self.events is None:
                self.events = EventFiles(self.context)
            action(self.events)
        except Exception as error:  # of the disk, or of TensorBoard's package
            self.failed, self.events = True, None
            why = (
                error.what
                if isinstance(error, StorageError)
                else f"{type(error).__name__}: {error}"
            )
            self.context.notify(
                plain(f"no more TensorBoard events: {why}; metrics.csv has the same curves")
            )


class EventFiles:
    """Open event files of one run."""

    def __init__(self, context: SinkContext) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder: Path = context.folder / "tb"
        purge = None if context.resumed_at is None else context.resumed_at + 1
        with storing(self.folder):
            self.writer = SummaryWriter(str(self.folder), purge_step=purge)
        assert self.writer.file_writer is not None
        self.add_summary: Callable[[Any], None] = self.writer.file_writer.add_summary
        for summary in start_summaries(context.hparams, context.differ):
            self.add_summary(summary)

    def scalars(self, row: Mapping[str, float], step: int) -> None:
        with storing(self.folder):
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        with storing(self.folder):
            self.writer.flush()

    def close(self) -> None:
        with storing(self.folder):
            self.add_summary(end_summary())
            self.writer.close()
