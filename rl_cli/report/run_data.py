"""What a report needs of a run, read from its folder alone.

A run folder is untrusted: its files are parsed as data, with bounded sizes, and a folder that cannot be
read is reported and left out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.config import migrations
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.same_numbers import whole
from rl_cli.storage import provenance_file, run_folder
from rl_cli.storage.untrusted import MAX_JSON_BYTES, MAX_YAML_BYTES, parse_json, parse_yaml, read
from rl_cli.tracking import csv_reader

Value = str | int | float | bool | None


@dataclasses.dataclass(frozen=True)
class RunData:
    """One run.

    Attributes:
        folder: of the run.
        algo, env: the names given on the command line.
        seed: of the run.
        config: key -> value, nested keys joined by dots.
        state: running, completed, interrupted, failed, died, pruned, or unknown.
        reason: why it ended.
        step: the last step that status.json names.
        seconds: training time; None: not recorded.
        success_at: return from which on an episode counts as a success; None: no threshold.
        steps: (E,) int64, increasing; the step of each evaluation.
        returns: (E,) float64, mean return of each evaluation.
        seconds_at: (E,) float64, training time at each evaluation; NaN: not recorded.
        skipped: rows of evaluations without a finite return, which are left out.
        training: (P, 2) float64, steps and returns of training episodes, at most MAX_POINTS of them.
        machine: host, processor and system; empty: not recorded.
        versions: package -> version.
        sources: digests of an algorithm and an env of the user's own.

    """

    folder: Path
    algo: str
    env: str
    seed: int
    config: Mapping[str, Value]
    state: str
    reason: str
    step: int
    seconds: float | None
    success_at: float | None
    steps: np.ndarray
    returns: np.ndarray
    seconds_at: np.ndarray
    skipped: int
    training: np.ndarray
    machine: str
    versions: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def final(self) -> float:
        """Return of the last evaluation; NaN if there is none or the run did not complete."""
        return (
            float(self.returns[-1]) if self.state == "completed" and len(self.returns) else math.nan
        )

    @property
    def best(self) -> float:
        """Highest return of an evaluation; NaN if there is none."""
        return float(self.returns.max()) if len(self.returns) else math.nan


def find(places: Iterable[Path]) -> Iterator[Path]:
    """Run folders at or below the places, each once, in the order of their names.

    A sweep's folder holds one record per job; the runs that these name are found through them.

    Raises:
        BadInput: a place does not exist.

    """
    seen: set[str] = set()
    for place in places:
        if not place.is_dir():
            raise BadInput("there is no such folder", str(place), "name folders that contain runs")
        for folder in (*_below(place), *_of_sweep(place)):
            if (name := os.path.realpath(folder)) not in seen:
                seen.add(name)
                yield folder


def sweeps_below(places: Iterable[Path]) -> list[Path]:
    """Folders below the places, without these, that hold records of the jobs of a sweep."""
    found = (folder for place in places for folder in _walk(place, RECORD) if folder != place)
    return list(dict.fromkeys(found))


RECORD = re.compile(r"job_\d+\.json")


def _below(place: Path) -> Iterator[Path]:
    """Run folders in the order of their paths."""
    return _walk(place, RUN)


RUN = re.compile(r"config\.yaml")


def _walk(place: Path, wanted: re.Pattern[str]) -> Iterator[Path]:
    """Folders that contain a wanted name, in the order of their paths. Links to folders are not followed."""
    waiting = [str(place)]
    while waiting:
        folder = waiting.pop()
        names, inside = list[str](), list[str]()
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    names.append(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        inside.append(entry.path)
        except OSError:  # removed meanwhile, or not readable
            continue
        if any(map(wanted.fullmatch, names)):
            yield Path(folder)
        if "config.yaml" not in names:  # a run contains no other runs
            waiting += sorted(inside, reverse=True)


def _of_sweep(place: Path) -> Iterator[Path]:
    for record in sorted(place.glob("job_*.json")):
        try:
            job = parse_json(read(record, MAX_JSON_BYTES))
        except (OSError, ValueError):
            continue
        if isinstance(job, dict):
            folder = run_folder.of_record(place, job.get("run_dir"), job.get("start"))
            if folder is not None:
                yield folder


def read_run(folder: Path) -> RunData:
    """Read one run.

    Raises:
        BadInput: config.yaml or eval.csv cannot be read.

    """
    (algo, env), seed, values = _config(folder / "config.yaml")
    status = run_folder.read_status(folder)
    seconds = _number(status.get("seconds"))
    steps, returns, skipped = _evaluations(folder / "eval.csv")
    training, seconds_at = _metrics(folder / "metrics.csv", steps)
    start = (provenance_file.read_starts(folder) or [provenance_file.Start()])[0]
    return RunData(
        folder=folder,
        algo=algo,
        env=env,
        seed=seed,
        config=values,
        state=_text(status.get("state")) or "unknown",
        reason=_text(status.get("reason")),
        step=int(_number(status.get("step")) or 0),
        seconds=seconds if seconds is not None and seconds >= 0 else None,
        success_at=_success_at(status, values),
        steps=steps,
        returns=returns,
        seconds_at=seconds_at,
        skipped=skipped,
        training=training,
        machine=_machine(start.machine),
        versions=_shared(tuple(start.packages.items())),
        sources=start.sources,
    )


def _machine(found: Mapping[str, str]) -> str:
    """Host, processor and system in one line."""
    count = found.get("processors", "")
    kind = found.get("processor", "")
    words = [found.get("host", ""), f"{count} x {kind}" if count and kind else kind]
    return ", ".join(word for word in [*words, found.get("system", "")] if word)


@functools.lru_cache(maxsize=256)
def _shared(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all runs that have the same one."""
    return dict(items)


SEED = re.compile(rb"^seed: (\d{1,10})$", re.MULTILINE)


def _config(path: Path) -> tuple[tuple[str, str], int, Mapping[str, Value]]:
    """Labels, seed and values of a configuration. Raises BadInput.

    Parsing takes 10 ms. Runs of a group, whose files differ in the line of the seed, are parsed once.
    """
    try:
        data = read(path, MAX_YAML_BYTES)
        found = SEED.search(data)
        labels, values = _parsed(data if found is None else SEED.sub(b"seed: 0", data, count=1))
    except (OSError, ValueError) as error:
        raise BadInput(f"not a configuration: {error}", str(path), "restore it") from None
    return labels, int(found[1]) if found else _whole(values.get("seed")), values


def _whole(value: Value) -> int:
    """A seed in another form, such as 1e3; 0: it is none."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else 0


@functools.lru_cache(maxsize=2048)
def _parsed(data: bytes) -> tuple[tuple[str, str], Mapping[str, Value]]:
    """Labels, and flat values with the keys of this version. Raises ValueError."""
    config = parse_yaml(data)
    if not isinstance(config, dict) or not isinstance(config.get("algo"), dict):
        raise ValueError("no algorithm is named")
    labels = config.get("labels")
    algo, env = labels if isinstance(labels, list) and len(labels) == 2 else ("?", "?")
    return (plain(str(algo)), plain(str(env))), dict(_flat(migrations.run(config)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Nested keys joined by dots; lists as text."""
    for name, value in values.items():
        key = f"{prefix}{plain(str(name))}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, bool | int | float) or value is None:
            yield key, value
        else:
            yield key, plain(str(whole(value)))


def _success_at(status: Mapping[str, Any], config: Mapping[str, Value]) -> float | None:
    """The threshold that the run used, which may be the env's own; else the configured one."""
    training = status.get("training")
    used = training.get("success_at") if isinstance(training, dict) else None
    return _number(config.get("env.success_at")) if used is None else _number(used)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_NUMBER:
        return None
    return float(value) if math.isfinite(value) else None


MAX_NUMBER = 1e100
"""The square of a larger number may be no float."""


def _text(value: Any) -> str:
    return plain(value) if isinstance(value, str) else ""


def _evaluations(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Step and mean return of each evaluation, (E,) each; number of rows left out. Raises BadInput."""
    every = _columns(path, "step", "episode_return")
    known = every[np.isfinite(every).all(1)]
    steps, place = np.unique(known[:, 0], return_inverse=True)
    counts = np.bincount(place, minlength=len(steps))
    means = np.bincount(place, known[:, 1], minlength=len(steps)) / counts
    return steps.astype(np.int64), means, len(every) - len(known)


def _metrics(path: Path, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training curve, (P, 2), and training time at each of the steps, (E,), interpolated; NaN: unknown."""
    every = _columns(path, "step", "rollout/episode_return", "time/elapsed")
    every = every[np.argsort(every[:, 0], kind="stable")]
    curve, times = (every[np.isfinite(every[:, [0, i]]).all(1)][:, [0, i]] for i in (1, 2))
    if not len(times):
        return thinned(curve), np.full(len(steps), np.nan)
    return thinned(curve), np.interp(steps, times[:, 0], np.maximum.accumulate(times[:, 1]))


MAX_POINTS = 60
"""Points of a training curve that are kept; neighboring rows are averaged."""


def thinned(curve: np.ndarray) -> np.ndarray:
    """At most MAX_POINTS points of a curve (P, 2): means of neighboring ones."""
    if len(curve) <= MAX_POINTS:
        return curve
    starts = np.linspace(0, len(curve), MAX_POINTS, endpoint=False).astype(int)
    sizes = np.diff(starts, append=len(curve))
    means: np.ndarray = np.add.reduceat(curve, starts, axis=0) / sizes[:, None]
    return means


def _columns(path: Path, *names: str) -> np.ndarray:
    """Columns of a table of numbers, (rows, names); NaN: no value, or too large a number. No file: no rows.

    Raises:
        BadInput: it is no table.

    """
    try:
        found = csv_reader.numbers(path, *names)
    except FileNotFoundError:
        return np.zeros((0, len(names)))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read: {error}", str(path), "restore it") from None
    return np.where(np.abs(found) <= MAX_NUMBER, found, math.nan)
