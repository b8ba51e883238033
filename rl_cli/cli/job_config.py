"""One composed run: its values, and what Hydra knows of how they were chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.cli import compose, config_groups, presets
from rl_cli.config.labels import Labels


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """A composed run.

    Args:
        number: of the job; 0 for a single run.
        values: plain values by key.
        choices: group -> the member that was chosen.
        folders: of configuration files.
        overrides: of the command line, as typed or as a sweeper wrote them.

    """

    number: int
    values: dict[str, Any]
    choices: Mapping[str, str | None]
    folders: Sequence[Path]
    overrides: list[str]

    @classmethod
    def of(cls, number: int, cfg: Any, hydra: Any, overrides: list[str]) -> JobConfig:
        """From a composed configuration and Hydra's node of it.

        Raises:
            CompositionError: an interpolation cannot be resolved.
            BadInput: values of another algorithm or env.

        """
        choices = {str(k): None if v is None else str(v) for k, v in hydra.runtime.choices.items()}
        sources = [source for source in hydra.runtime.config_sources if source.schema == "file"]
        found = cls(
            number, compose.values(cfg), choices, [Path(s.path) for s in sources], overrides
        )
        algo, env, hparams = (str(choices[group]) for group in ("algo", "env", "hparams"))
        config_groups.refuse_foreign_values(algo, env, hparams, found.values["env"]["id"])
        return found

    def labels(self) -> Labels:
        """The names of the run, from the choices of groups and the words typed."""
        preset = presets.preset_label(str(self.choices["hparams"]), list(self.folders))
        if (experiment := self.choices.get("experiment")) is not None:
            values = "" if preset == presets.DEFAULTS else f"{preset}, "
            preset = f"{values}experiment={experiment}"
        env = config_groups.env_label(str(self.choices["env"]), self.values)
        return Labels(str(self.choices["algo"]), env, preset, tuple(self.overrides))
