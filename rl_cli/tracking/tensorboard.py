"""TODO."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rl_cli.config.run import RunConfig
from rl_cli.storage.atomic_files import storing

FINAL_METRIC = "eval/episode_return"


class _Events:
    """TensorBoard event files."""

    def __init__(self, folder: Path, hparams: Mapping[str, Any], resumed_at: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams as summarise_hparams

        self.folder = folder
        purge = None if resumed_at is None else resumed_at + 1
        with storing(folder):
            self.writer = SummaryWriter(str(folder), purge_step=purge)
        assert self.writer.file_writer is not None
        self.add_summary: Callable[[Any], None] = self.writer.file_writer.add_summary
        self.end: Any
        experiment, start, self.end = summarise_hparams(
            {
                k: v if isinstance(v, bool | int | float | str) else str(v)
                for k, v in hparams.items()
            },
            {FINAL_METRIC: 0.0},
        )
        self.add_summary(experiment)
        self.add_summary(start)

    def scalars(self, row: Mapping[str, float], step: int) -> None:
        with storing(self.folder):
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        with storing(self.folder):
            self.writer.flush()

    def close(self) -> None:
        with storing(self.folder):
            self.add_summary(self.end)
            self.writer.close()


def hparams(cfg: RunConfig) -> dict[str, Any]:
    """The keys that tell runs apart, flat."""
    values = {"seed": cfg.seed, "total_timesteps": cfg.total_timesteps}
    values |= {f"algo.{key}": value for key, value in dataclasses.asdict(cfg.algo).items()}
    values |= {f"env.{key}": value for key, value in dataclasses.asdict(cfg.env).items()}
    return {
        k: json.dumps(v) if isinstance(v, dict | list | tuple) else v for k, v in values.items()
    }
