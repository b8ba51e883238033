"""manifest.json: description of a checkpoint, sealed with a SHA-256 of itself; names of its files.

The last field, `sha256`, is the hash of every byte before the comma that precedes it, so any changed
byte is detected. Format 1 has no seal and is still read. Up to format 2, pieces of pixel tables hold
every observation in full; since format 3 they are packed (`buffers.frame_stack`). Up to format 3,
`algo.vf_coef` multiplied half the mean squared error (`config.migrations`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field

from rl_cli.config import migrations
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read

POLICY, STATE, STATE_JSON, MANIFEST = (
    "policy.safetensors",
    "state.safetensors",
    "state.json",
    "manifest.json",
)

BEST = "best.json"

MAX_POLICY_BYTES = 1 << 30

MAX_STATE_JSON_BYTES = 1 << 23

MAX_HEADER_BYTES = 1 << 24


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, in ascending order."""
    if not folder.is_dir():
        return []
    names = [p.name for p in folder.iterdir() if re.fullmatch("[0-9]{9,18}", p.name)]
    return sorted(int(name) for name in names if name == f"{int(name):09d}")


def folders_in(folder: Path) -> list[Path]:
    """Folders of the checkpoints in a folder, in ascending order of their steps."""
    return [folder / f"{step:09d}" for step in steps_in(folder)]


def best_step(folder: Path) -> int | None:
    """Step of the best checkpoint, if one has been evaluated and still exists."""
    try:
        step = parse_json(read(folder / BEST, MAX_JSON_BYTES))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if type(step) is int and step in steps_in(folder) else None


FORMAT: Literal[4] = 4

SEALED_FROM = 2

_SEAL = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z')

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class FileEntry:
    sha256: str
    bytes: Annotated[int, Field(ge=0)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Manifest:
    """Content of manifest.json. The schemas of `algo` and `env` are checked by their readers."""

    format: Literal[1, 2, 3, 4]
    step: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    algo: dict[str, Any]
    env: dict[str, Any]
    eval: dict[str, Any] | None  # seed, greedy and mean return of the evaluation at this step
    versions: dict[str, str]
    files: dict[str, FileEntry]  # name -> of every other file in the folder

    @property
    def has_state(self) -> bool:
        """Whether the run can be resumed from it; if not, its replay buffer was dropped."""
        return STATE in self.files or STATE_JSON in self.files


class NewerFormat(ValueError):
    """The file is intact, and its format is of a later version of the program."""


def encode(manifest: Manifest) -> bytes:
    """The bytes of manifest.json."""
    return seal(dataclasses.asdict(manifest))


def seal(fields: Mapping[str, Any]) -> bytes:
    """JSON whose last field is the SHA-256 of the bytes before it."""
    body = json.dumps(fields, indent=2).removesuffix("\n}").encode()
    return body + f',\n  "sha256": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def decode(data: bytes) -> Manifest:
    """The inverse of `encode` for every format; `algo` and `env` have the keys of this version.

    Raises:
        NewerFormat: the format is of a later version.
        ValueError: a byte has changed, or it is not a manifest.

    """
    raw = parse_json(data)
    if not isinstance(raw, dict) or type(raw.get("format")) is not int or raw["format"] < 1:
        raise ValueError("it has no format number")
    found = _SEAL.search(data)
    if found and hashlib.sha256(data[: found.start()]).hexdigest() != found[1].decode():
        raise ValueError("it has changed since it was written")
    if raw["format"] > FORMAT:
        raise NewerFormat(
            f"checkpoint format {raw['format']} is newer than this program's {FORMAT}"
        )
    if raw["format"] >= SEALED_FROM:
        if found is None:
            raise ValueError("the sha256 at its end is missing")
        del raw["sha256"]
    try:
        manifest = build(Manifest, raw)
    except BadInput as error:
        raise ValueError(error.what) from None
    for name in manifest.files:
        if not _NAME.fullmatch(name):
            raise ValueError(f"it lists {name!r}, which is not a file name")
    return dataclasses.replace(
        manifest,
        algo=migrations.algo(manifest.algo, manifest.format),
        env=migrations.env(manifest.env),
    )
