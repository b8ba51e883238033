"""Records of the jobs of a sweep, job_0003.json; they may come from anybody."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from rl_cli.core.fields import Fields, StateError
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read

Record = dict[str, Any]

PATTERN = "job_*.json"

FILES = (PATTERN, "job_*.log", ".lock*", "report.*", "report-*.png", "multirun.yaml")
"""What a sweep writes directly into its folder; Hydra writes the last."""

TEXTS = ("state", "reason", "config", "run_dir", "start")

MAX_PATH, MAX_PART = 2_000, 200
"""Characters of the path of a run folder, and of each of its parts."""


def paths(folder: Path) -> list[Path]:
    """The files of records, by number."""
    return sorted(p for p in folder.glob(PATTERN) if re.fullmatch("job_[0-9]{4,9}", p.stem))


def number_of(path: Path) -> int:
    """The number of a record's job."""
    return int(path.stem.removeprefix("job_"))


def load(path: Path) -> Record:
    """A record, whose known fields all exist and have their types; empty if it cannot be one."""
    try:
        fields = Fields(parse_json(read(path, MAX_JSON_BYTES)))
        return {**fields.state, **_checked(fields)}
    except (OSError, ValueError):
        return {}


def _checked(fields: Fields) -> Record:
    checked: Record = {name: fields.get(name, "") for name in TEXTS}
    checked["overrides"] = fields.items("overrides", default=[])
    for value in [*checked["overrides"], *(checked[name] for name in TEXTS)]:
        if not isinstance(value, str) or value.encode(errors="replace").decode() != value:
            raise StateError("a text is not a text in UTF-8")
    for folder in (checked["run_dir"], checked["start"]):
        if len(folder) > MAX_PATH or any(len(part) > MAX_PART for part in folder.split("/")):
            raise StateError("a path is too long")
    value = fields.get("eval_return", None)
    unknown = value is None or (isinstance(value, float) and not math.isfinite(value))
    return checked | {
        "earlier": fields.items("earlier", default=[]),
        "exit_code": fields.integer("exit_code", 0, 255, default=1),
        "eval_return": None if unknown else fields.number("eval_return"),
        "seconds": fields.number("seconds", 0.0, 1e12, default=0.0),
    }
