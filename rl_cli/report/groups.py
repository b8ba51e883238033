"""Runs grouped by what differs between them other than the seed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rl_cli.core.same_numbers import whole
from rl_cli.report.run_data import RunData, Value

NOT_LEARNING = (
    "seed", "run_dir", "resume", "jobs", "retries", "gpus", "quiet", "display", "device", "threads", "compile",
    "workers", "step_timeout", "format", "labels", "preset", "typed", "algo.name",
)  # fmt: skip
"""Keys that do not change what is learned or how it is measured, up to rounding."""
NOT_LEARNING_GROUPS = ("checkpoint.", "video.", "log.", "eval.every", "eval.episodes", "eval.seed")
"""Prefixes of such keys. Evaluations at different steps are aligned (`curves.py`)."""

FOLLOWS = {"env.reward_gamma": "algo.gamma"}
"""Keys that have the value of another one unless they are set: they are not named where both differ alike."""


class Absent(NamedTuple):
    """A seed without a run. `state`: failed, or missing."""

    seed: int
    state: str


class Role(NamedTuple):
    """The role of a run in a search; runs with another role form groups of their own.

    Attributes:
        study: of the search.
        trial: its label; 0: the defaults.
        fresh: whether its seed is fresh: results on the other seeds chose the trials.
        place: of its group in the report.

    """

    study: str
    trial: int
    fresh: bool
    place: int

    @property
    def name(self) -> str:
        return "defaults" if self.trial == 0 else f"trial {self.trial}"

    @property
    def part(self) -> str:
        return f"{self.study}, {'fresh seeds' if self.fresh else 'seeds of the search'}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed.

    Attributes:
        algo, env: names of both.
        settings: the keys that differ between the groups of a report, with this group's values.
        runs: one per seed, by seed.
        others: further runs of the same seeds, which are not counted.
        absent: seeds of a sweep that have no run.
        role: in a search; None: its runs are of no search.

    """

    algo: str
    env: str
    settings: Mapping[str, Value]
    runs: Sequence[RunData]
    others: Sequence[RunData]
    absent: Sequence[Absent] = ()
    role: Role | None = None

    @property
    def repeated(self) -> int:
        """Number of the runs that are not counted."""
        return len(self.others)

    @property
    def section(self) -> str:
        """Groups of a section are compared with its first one: the env, or a part of a search."""
        return self.env if self.role is None else f"{self.env}: {self.role.part}"

    @property
    def is_chosen_from(self) -> bool:
        """Whether the results chose among the groups of the section, so that the best one is biased."""
        return self.role is not None and not self.role.fresh

    @property
    def method(self) -> str:
        """What was compared, without the env: the algorithm and its differing settings, or the trial."""
        if self.role is not None:
            return self.role.name
        words = [f"{key.removeprefix('algo.')}={_text(v)}" for key, v in self.settings.items()]
        return " ".join([self.algo, *words])

    @property
    def name(self) -> str:
        return f"{self.method} on {self.section}"


def group(runs: Iterable[RunData], roles: Mapping[str, Role] | None = None) -> list[Group]:
    """Group runs by algorithm, env, every key that changes learning or measurement, and the user's own source.

    A key is part of a group's `settings` if its value differs between two groups of the same algorithm
    and env. Of runs of one seed in one group, a completed one counts, and of these the one with the latest evaluation.

    Args:
        runs: of the report.
        roles: real path of a run of a search -> its role. Its groups come last.

    """
    members: dict[tuple[object, ...], list[RunData]] = {}
    of_search: dict[tuple[object, ...], list[RunData]] = {}
    for run in runs:
        role = roles.get(os.path.realpath(run.folder)) if roles else None
        values = sorted((key, _compared(value)) for key, value in _learning(run).items())
        found = members if role is None else of_search
        found.setdefault((role, run.algo, run.env, *values), []).append(run)
    groups = list(members.values())
    differing = _differing_keys([found[0] for found in groups])
    trials = [_of_trial(found, key[0]) for key, found in of_search.items()]
    trials.sort(key=lambda g: (g.role.study, not g.role.fresh, g.role.place) if g.role else ())
    return [*(_make(found, _settings(found[0], differing)) for found in groups), *trials]


def _of_trial(found: Sequence[RunData], role: object) -> Group:
    assert isinstance(role, Role)
    settings: dict[str, Value] = {"study": role.study, "trial": role.trial, "fresh": role.fresh}
    return _make(found, settings, role)


def with_absent(found: Group, by_run: Mapping[str, Sequence[Absent]]) -> Group:
    """The group with the seeds that have no run.

    Args:
        found: a group.
        by_run: real path of the folder of a run -> seeds of its group without one.

    """
    seeds = {run.seed for run in found.runs}
    every = (*found.runs, *found.others)
    lost = [a for run in every for a in by_run.get(os.path.realpath(run.folder), ())]
    # a job that failed in one sweep and has no run in another one has failed
    by_seed = {a.seed: a for a in sorted(lost, key=lambda a: a.state == "failed")}
    return dataclasses.replace(
        found, absent=sorted(a for a in by_seed.values() if a.seed not in seeds)
    )


def _counts(key: str) -> bool:
    return key not in NOT_LEARNING and not key.startswith(NOT_LEARNING_GROUPS)


def _learning(run: RunData) -> dict[str, Value]:
    """The values that separate groups: of keys, and digests of an algorithm or env of the user's own."""
    values = {key: value for key, value in run.config.items() if _counts(key)}
    return values | {f"{what} source": digest[:8] for what, digest in run.sources.items()}


def _differing_keys(first: Sequence[RunData]) -> Mapping[tuple[str, str], Sequence[str]]:
    """(algorithm, env) -> keys whose values differ between its groups, given the first run of each group."""
    peers: dict[tuple[str, str], list[dict[str, Value]]] = {}
    for run in first:
        peers.setdefault((run.algo, run.env), []).append(_learning(run))
    return {
        pair: [
            key
            for key in dict.fromkeys(k for values in found for k in values)
            if len({_compared(values.get(key, UNSET)) for values in found}) > 1
            and not _follows(key, found)
        ]
        for pair, found in peers.items()
    }


UNSET = "(not set)"
"""In place of the value of a key that a run does not have; null is a value."""


def _compared(value: Value) -> str:
    """A value in the form in which runs are compared."""
    return repr(whole(value))


def _follows(key: str, found: Sequence[Mapping[str, Value]]) -> bool:
    other = FOLLOWS.get(key)
    return other is not None and all(values.get(key) == values.get(other) for values in found)


def _settings(run: RunData, differing: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, Value]:
    values = _learning(run)
    return {key: values[key] for key in differing[run.algo, run.env] if key in values}


def difference(run: RunData, first: RunData) -> dict[str, tuple[Value, Value]]:
    """Keys of a run's configuration, other than the seed, whose values differ from those of another run.

    Returns:
        key -> value of the run, value of the other.

    """
    return {
        key: (run.config.get(key), first.config.get(key))
        for key in {**first.config, **run.config}
        if key not in ("seed", "run_dir", "typed") and run.config.get(key) != first.config.get(key)
    }


def _make(
    found: Sequence[RunData], settings: Mapping[str, Value], role: Role | None = None
) -> Group:
    by_seed: dict[int, RunData] = {}
    for run in found:
        other = by_seed.get(run.seed)
        if other is None or _progress(run) >= _progress(other):
            by_seed[run.seed] = run
    runs = [by_seed[seed] for seed in sorted(by_seed)]
    others = [run for run in found if run is not by_seed[run.seed]]
    return Group(found[0].algo, found[0].env, settings, runs, others, role=role)


def _progress(run: RunData) -> tuple[bool, int, str]:
    return run.state == "completed", int(run.steps[-1]) if len(run.steps) else 0, run.folder.name


def _text(value: Value) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
