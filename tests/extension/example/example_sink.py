"""A sink of another package: rows and evaluations as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rl_cli.core.types import Episode
from rl_cli.storage.atomic_files import append, storing, sync_files, write_atomic
from rl_cli.tracking.sinks import SinkContext


class JsonLines:
    """Writes `{"step": ..., <tag>: <value>}` for each row and each evaluation to one file."""

    def __init__(self, context: SinkContext, file: str = "rows.jsonl") -> None:
        self.path: Path = context.folder / file
        if not self.path.exists():
            write_atomic(self.path, b"")
        if context.resumed_at is not None:
            self.cut_after(context.resumed_at, context.resumed_at)

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        self._append({"step": step, **row})

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        self._append({"step": step, "seed": seed, **row})

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        lines = self.path.read_text().splitlines(keepends=True)
        kept = (t for t in lines if self._is_kept(json.loads(t), row_step, evaluation_step))
        write_atomic(self.path, "".join(kept).encode())

    def flush(self) -> None:
        with storing(self.path):
            sync_files([self.path])

    def close(self) -> None:
        """No file is open between two calls."""

    def _append(self, values: Mapping[str, float]) -> None:
        with storing(self.path):
            append(self.path, f"{json.dumps(values)}\n".encode())

    @staticmethod
    def _is_kept(values: Mapping[str, float], row_step: int, evaluation_step: int) -> bool:
        last = evaluation_step if "seed" in values else row_step
        return values["step"] <= last
