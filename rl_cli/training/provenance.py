"""What a run records about itself at each start, and what differs from the start before."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rl_cli.core.errors import RunError, plain
from rl_cli.core.start_folder import start_folder
from rl_cli.storage.atomic_files import write_atomic
from rl_cli.storage.checkpoint_writer import RECORDED, package_version
from rl_cli.storage.provenance_file import Start, diff_name, read_starts, write_starts
from rl_cli.training import conditions
from rl_cli.training.working_folder import GitState, git_state

PACKAGES = (
    *RECORDED,
    *("opencv-python-headless", "safetensors", "hydra-core", "omegaconf", "pydantic"),
)
"""Packages that compute, read or write something of a run; those of the env and the algorithm are added."""

SHOWN = 12
"""Characters of a commit's hash in a line."""


class Provenance:
    """The starts of one run, in provenance.json.

    Args:
        folder: of the run.
        found: conditions of this process (`conditions.conditions`).
        packages: versions of the packages of env and algorithm.
        sources: digests of those that are the user's own (`conditions.own_sources`).

    """

    def __init__(
        self,
        folder: Path,
        found: Mapping[str, str],
        packages: Mapping[str, str],
        sources: Mapping[str, str],
    ) -> None:
        self.folder, self.found, self.packages = folder, found, packages
        self.sources = sources
        self.starts: list[Start] = []

    def start(self, step: int) -> list[str]:
        """Record a start. -> what differs from the start before, without conditions, which checkpoints have.

        Raises:
            StorageError: it cannot be written.

        """
        earlier = read_starts(self.folder)
        git = git_state(start_folder())
        new = self._describe(step, git)
        before = earlier[-1] if earlier else None
        changes = [] if before is None else differences(before, new)
        others = (
            [] if before is None else conditions.different(before.conditions, self.found).values()
        )
        new = dataclasses.replace(new, differs=[*others, *changes])
        if git is not None and git.diff:
            known = [start.git.get("diff_sha256") for start in earlier]
            if git.diff_sha256 not in known:
                write_atomic(self.folder / diff_name(len(earlier)), git.diff, synced=False)
        self.starts = [*earlier, new]
        write_starts(self.folder, self.starts)
        return changes

    def _describe(self, step: int, git: GitState | None) -> Start:
        known = {**{name: package_version(name) for name in PACKAGES}, **self.packages}
        return Start(
            step=step,
            time=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            command=[os.path.basename(sys.argv[0]), *sys.argv[1:]],
            folder=str(start_folder()),
            git={} if git is None else _git_fields(git),
            machine={
                "host": platform.node(),
                "system": f"{platform.system()} {platform.release()} {platform.machine()}",
                "processor": self.found.get("processor", ""),
                "processors": str(os.cpu_count() or 0),
            },
            packages={"python": platform.python_version()}
            | {name: version for name, version in known.items() if version != "unknown"},
            conditions=dict(self.found),
            sources=dict(self.sources),
        )

    def decide(self, compiled: bool | None) -> None:
        """Record whether the update step is compiled. A failure to write it is no reason to end a run."""
        if self.starts and self.starts[-1].compiled != compiled:
            self.starts[-1] = dataclasses.replace(self.starts[-1], compiled=compiled)
            with contextlib.suppress(RunError):
                write_starts(self.folder, self.starts)


def _git_fields(git: GitState) -> dict[str, object]:
    fields = dataclasses.asdict(git)
    del fields["diff"]
    return fields


def differences(before: Start, now: Start) -> list[str]:
    """Commit, uncommitted changes, machine and packages that differ, in words; conditions are left out."""
    words = []
    old, new = str(before.git.get("commit", "")), str(now.git.get("commit", ""))
    if before.git and now.git and old != new:
        words.append(f"git commit {old[:SHOWN] or 'none'} before, {new[:SHOWN] or 'none'} now")
    elif before.git and now.git and before.git.get("diff_sha256") != now.git.get("diff_sha256"):
        words.append("the uncommitted changes of the working folder are others")
    if _differ(before.machine, now.machine, "host"):
        words.append(f"host {before.machine['host']} before, {now.machine['host']} now")
    words += [
        f"{name} {before.packages[name]} before, {version} now"
        for name, version in now.packages.items()
        if name not in now.conditions and _differ(before.packages, now.packages, name)
    ]
    return [plain(word) for word in words]


def _differ(before: Mapping[str, str], now: Mapping[str, str], name: str) -> bool:
    return name in before and name in now and before[name] != now[name]


def explanations(before: Sequence[Start], now: Sequence[Start]) -> list[str]:
    """Differences between two runs that may explain other bits, in words."""
    if not before or not now:
        return []
    old, new = before[0], now[0]
    found = [*conditions.different(old.conditions, new.conditions).values()]
    if old.compiled is not None and new.compiled is not None and old.compiled != new.compiled:
        kinds = {True: "compiled", False: "plain"}
        found.append(
            f"the update step was {kinds[old.compiled]} before and is {kinds[new.compiled]} now"
        )
    return [*found, *differences(old, new)]
