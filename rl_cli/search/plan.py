"""What a search is: handed over by the command line, and fixed for a study. Does not import optuna."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from rl_cli.config.labels import Labels
from rl_cli.config.search import SearchConfig
from rl_cli.search.space import Space
from rl_cli.training.resume import HOW

Direction = Literal["maximize", "minimize"]

ROOT = Path("runs/searches")
"""Folder of the folders of searches."""

FIXED = ("seeds", "objective", "second")
"""Keys of rl-search that cannot change of a study, besides space and threshold."""

NOT_FIXED = (*HOW, "seed", "labels", "preset", "typed", "device", "threads", "compile", "workers")
"""Keys of a run that may differ between the processes of one study; the seed is compared by itself."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search.

    Attributes:
        name: of the study.
        folder: of the search.
        cfg: the keys of rl-search.
        seed: first seed of the runs, and seed of the sampler.
        jobs: runs of this process at a time.
        space: the dimensions, which contain the defaults.
        defaults: values of the keys of the space without a search.
        threshold: return for steps to the threshold; None: not known and not needed.
        config: the configuration of a run with the defaults, as plain values.
        configure: values of keys -> the configuration of a run with them; raises BadInput if a run
            cannot have them.
        labels: of the runs.

    """

    name: str
    folder: Path
    cfg: SearchConfig
    seed: int
    jobs: int
    space: Space
    defaults: Mapping[str, Any]
    threshold: float | None
    config: Mapping[str, Any]
    configure: Callable[[Mapping[str, Any]], dict[str, Any]]
    labels: Labels

    @property
    def budget(self) -> int:
        """Env steps of a run with the defaults."""
        return int(self.config["total_timesteps"])

    @property
    def seeds(self) -> list[int]:
        """Of every trial."""
        return [self.seed + i for i in range(self.cfg.seeds)]

    @property
    def fresh(self) -> list[int]:
        """Seeds of the runs that compare the best trials with the defaults."""
        return [self.cfg.fresh_seed + i for i in range(self.cfg.verify)]

    @property
    def directions(self) -> list[Direction]:
        """Of the objectives, in Optuna's words."""
        first: Direction = "minimize" if self.cfg.objective == "steps" else "maximize"
        return [first] if self.cfg.second is None else [first, "minimize"]

    def settings(self) -> dict[str, str]:
        """The settings that all commands of a study share: key -> value as text."""
        found = {key: json.dumps(getattr(self.cfg, key)) for key in FIXED}
        found |= {"seed": str(self.seed), "threshold": json.dumps(self.threshold)}
        found |= {"algo": self.labels.algo, "env": self.labels.env}
        space = {f"space: {key}": json.dumps(each.recorded()) for key, each in self.space.items()}
        values = {k: v for k, v in self.config.items() if k not in NOT_FIXED}
        return found | space | _flat(values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{key}.")
        else:
            found[key] = json.dumps(value, default=str)
    return found
