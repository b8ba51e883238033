"""Names of a run: what it is called, and what was typed for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Labels(NamedTuple):
    """For a run's folder, its title and the HPARAMS tab.

    `preset`: whose values the run uses, such as "tuned: ppo_lunarlander"; empty: unknown. `typed`: the
    words of the command line, "key=value".
    """

    algo: str
    env: str
    preset: str = ""
    typed: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Sequence[object]) -> Labels:
        """From the fields in order, as plain values; the last two may be missing."""
        preset, typed = values[2] if len(values) > 2 else "", values[3] if len(values) > 3 else ()
        words = typed if isinstance(typed, list | tuple) else ()
        return cls(str(values[0]), str(values[1]), str(preset), tuple(str(word) for word in words))

    @classmethod
    def from_record(cls, config: dict[str, Any]) -> Labels:
        """Take the labels out of a recorded configuration, which `recorded` describes."""
        names = config.pop("labels", None)
        preset, typed = config.pop("preset", ""), config.pop("typed", ())
        if not isinstance(names, list) or len(names) != 2:
            names = ["run", "run"]
        return cls.of([*names, preset, typed])

    def recorded(self) -> dict[str, Any]:
        """The first keys of config.yaml."""
        return {"labels": [self.algo, self.env], "preset": self.preset, "typed": list(self.typed)}

    def keys(self) -> list[str]:
        """The keys of the typed words."""
        return [word.lstrip("+").partition("=")[0] for word in self.typed]
