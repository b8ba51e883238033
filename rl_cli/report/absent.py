"""Jobs of a sweep without a run: they failed before it began, or were not started.

Their records name the seed, and the group through a job with the same overrides and another seed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli.core.errors import plain
from rl_cli.report import run_data
from rl_cli.report.groups import Absent
from rl_cli.storage import run_folder
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read

SEED = re.compile(r"\+{0,2}seed=")


class Record(NamedTuple):
    """A job: what it shares with those of other seeds, its seed and state, the folder of its run or None."""

    key: tuple[str, ...]
    seed: int
    state: str
    folder: Path | None


def records(sweep: Path) -> Iterator[Record]:
    """The records in the folder of a sweep, without files that are no records."""
    for path in sorted(sweep.glob("job_*.json")):
        try:
            job = parse_json(read(path, MAX_JSON_BYTES))
        except (OSError, ValueError):
            continue
        if isinstance(job, dict):
            yield _record(sweep, job)


def _record(sweep: Path, job: Mapping[str, Any]) -> Record:
    words, labels, seed = job.get("overrides"), job.get("labels"), job.get("seed")
    shared = (
        [plain(str(word)) for word in words if not SEED.match(str(word))]
        if isinstance(words, list)
        else []
    )
    names = [plain(str(name)) for name in labels] if isinstance(labels, list) else []
    folder = run_folder.of_record(sweep, job.get("run_dir"), job.get("start"))
    whole = seed if isinstance(seed, int) and not isinstance(seed, bool) else -1
    return Record((*names[:2], *sorted(shared)), whole, plain(str(job.get("state"))), folder)


def find(places: Sequence[Path]) -> tuple[dict[str, list[Absent]], list[str]]:
    """Jobs without a run, of sweeps at or below the places.

    Returns:
        real path of a run of the same group -> jobs without one; a note on groups of a sweep that is a place itself
        in which no job has a run.

    """
    by_run: dict[str, list[Absent]] = {}
    without: Counter[str] = Counter()
    named = {os.path.realpath(place): place for place in places}
    below = {os.path.realpath(place): place for place in run_data.sweeps_below(places)}
    for path, place in (below | named).items():
        groups: dict[tuple[str, ...], list[Record]] = {}
        for record in records(place):
            groups.setdefault(record.key, []).append(record)
        for key, found in groups.items():
            lost = [Absent(r.seed, _state(r)) for r in found if r.folder is None]
            runs = [r.folder for r in found if r.folder is not None]
            if lost and runs:
                by_run.setdefault(os.path.realpath(runs[0]), []).extend(lost)
            elif lost and path in named:
                without[" on ".join(key[:2])] += len(lost)
    return by_run, [f"{name}: {n} jobs of a sweep have no run." for name, n in without.items()]


def _state(record: Record) -> str:
    return "failed" if record.state == "failed" else "missing"
