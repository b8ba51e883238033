"""The searches whose runs a report has: their records, and what each run was for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rl_cli.core.errors import BadInput, plain
from rl_cli.report import search_record
from rl_cli.report.groups import Role
from rl_cli.report.search_record import SearchRecord

RUN = re.compile(r"(fresh_)?t([0-9]{1,9})_s[0-9]{1,10}")
"""Names of the run folders of a search, below its folder `runs`."""


class Search(NamedTuple):
    """A search, and its folder."""

    record: SearchRecord
    folder: Path


def find(places: Iterable[Path], runs: Iterable[Path]) -> tuple[list[Search], list[str]]:
    """The searches of places and of run folders, each once; a note on each that cannot be read."""
    folders = {os.path.realpath(place): place for place in places}
    for run in runs:
        if RUN.fullmatch(run.name) and run.parent.name == "runs":
            folders.setdefault(os.path.realpath(run.parent.parent), run.parent.parent)
    found, left_out = list[Search](), list[str]()
    for folder in folders.values():
        if not os.path.lexists(folder / search_record.NAME):
            continue
        try:
            found.append(Search(search_record.load(folder), folder))
        except BadInput as error:
            left_out.append(f"Left out: {error.where}: {error.what}.")
    return found, left_out


def roles(searches: Sequence[Search], runs: Iterable[Path]) -> dict[str, Role]:
    """Real path of a run folder -> what the run is for; runs of no search have no entry.

    By the names of folders, so that those of a search that was killed are known too.
    """
    records = {os.path.realpath(each.folder): each.record for each in searches}
    places = {folder: _places(record) for folder, record in records.items()}
    found = {}
    for run in runs:
        name = RUN.fullmatch(run.name)
        if name is None or run.parent.name != "runs":
            continue
        folder, trial = os.path.realpath(run.parent.parent), int(name[2])
        study = records[folder].study if folder in records else plain(os.path.basename(folder))
        place = places.get(folder, {}).get(trial, trial)
        found[os.path.realpath(run)] = Role(study, trial, bool(name[1]), place)
    return found


def _places(record: SearchRecord) -> dict[int, int]:
    """Trial -> its place: the defaults, then the complete ones, the best first, then the others."""
    order = sorted(record.trials, key=lambda t: (t.trial != 0, *record.rank(t)))
    return {trial.trial: place for place, trial in enumerate(order)}
