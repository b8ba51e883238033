"""Writing checkpoints: whole or not there, synced, the oldest let go.

Everything is written under a hidden name, the manifest last; the last act is a rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from rl_cli.checkpoint import MANIFEST, POLICY, STATE, STATE_JSON, best_step, steps_in
from rl_cli.config import AlgoConfig, EnvConfig
from rl_cli.files import storing, sync_folder, write_json
from rl_cli.manifest import FORMAT, FileEntry, Manifest, encode
from rl_cli.types import Arrays, State

RECORDED = ("torch", "numpy", "gymnasium", "rl-cli")


@dataclasses.dataclass(frozen=True)
class Identity:
    """The part of a manifest that is the same for every checkpoint of a run."""

    seed: int
    algo: AlgoConfig
    env: EnvConfig


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, identity: Identity, keep: int) -> None:
        self.folder, self.identity, self.keep = folder, identity, keep

    def save(
        self, step: int, policy: Arrays, state: State, evaluation: dict[str, Any] | None, best: bool
    ) -> Path:
        """Write checkpoint `step`, then let go of the oldest beyond `keep` (never of the best).

        Everything is written and synced under a hidden name; the last act is a rename.

        Raises:
            StorageError: nothing of the new checkpoint is left, the older ones are as they were.

        """
        target = self.folder / f"{step:09d}"
        part = self.folder / f".{target.name}.part"
        with storing(target):
            try:
                self._write(part, step, policy, state, evaluation)
                if target.exists():  # a resumed run has come to this step again
                    shutil.rmtree(target)
                part.rename(target)
                sync_folder(self.folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        if best and evaluation is not None:
            write_json(self.folder / "best.json", {"step": step, **evaluation})
        self._prune()
        return target

    def _write(
        self, part: Path, step: int, policy: Arrays, state: State, evaluation: dict[str, Any] | None
    ) -> None:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tree, arrays = pack(state)
        contents = {
            POLICY: safetensors.numpy.save(policy),
            STATE: safetensors.numpy.save(arrays),
            STATE_JSON: json.dumps(tree).encode(),
        }
        manifest = Manifest(
            format=FORMAT,
            step=step,
            seed=self.identity.seed,
            algo=dataclasses.asdict(self.identity.algo),
            env=dataclasses.asdict(self.identity.env),
            eval=evaluation,
            versions={name: _version(name) for name in RECORDED},
            files={
                name: FileEntry(hashlib.sha256(data).hexdigest(), len(data))
                for name, data in contents.items()
            },
        )
        contents[MANIFEST] = encode(manifest)
        for name, data in contents.items():
            with (part / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(part)

    def _prune(self) -> None:
        best = best_step(self.folder)
        for step in steps_in(self.folder)[: -self.keep]:
            if step != best:
                shutil.rmtree(self.folder / f"{step:09d}", ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Take a broken checkpoint out of the row: it is neither found nor counted any more."""
    for i in range(1_000):
        kept = path.with_name(f"broken_{path.name}" + (f"_{i}" if i else ""))
        if not kept.exists():
            break
    with storing(kept):
        path.rename(kept)
    return kept


def _version(package: str) -> str:
    with contextlib.suppress(Exception):
        return version(package)
    return "unknown"


def pack(state: Any) -> tuple[Any, Arrays]:
    """Split nested state into JSON and arrays; an array's place in the JSON names it."""
    arrays: Arrays = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            while path in arrays:  # {"a": [x], "a.0": y}
                path += "'"
            arrays[path] = np.ascontiguousarray(value).reshape(value.shape)
            return {"$array": path}
        if isinstance(value, dict):
            return {
                key: walk(part, f"{path}.{key}" if path else key) for key, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [walk(part, f"{path}.{i}") for i, part in enumerate(value)]
        return value.item() if isinstance(value, np.generic) else value

    return walk(state, ""), arrays
