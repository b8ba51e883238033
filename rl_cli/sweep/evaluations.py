"""rl-eval of several runs: each in its own process, one table over seeds, and one JSON file for all."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.config.commands import ReplayConfig
from rl_cli.config.labels import Labels
from rl_cli.core import devices, processes, processors, terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.start_folder import path_here, relative
from rl_cli.report import groups, run_data, summary, table
from rl_cli.report.run_data import RunData
from rl_cli.report.summary import Row
from rl_cli.storage import run_folder, run_names
from rl_cli.storage.atomic_files import storing, write_json, writing_to
from rl_cli.storage.untrusted import parse_json, read
from rl_cli.sweep import evaluate_job
from rl_cli.sweep.local_executor import ForkExecutor, LocalExecutor, SpawnExecutor
from rl_cli.sweep.task import Task
from rl_cli.tracking.formatting import number

MAX_BYTES = 1 << 28
"""Of the evaluation.json of a run, which has a line per episode."""

PATTERN = "*?["
"""Characters of a pattern of paths."""

WAIT = 1.0
"""Seconds between two looks at the child processes."""


def expand(typed: Sequence[str]) -> list[str]:
    """The runs that paths, folders of runs or sweeps, and patterns of paths name, each once.

    A path that names no run, or one that does not exist, is left to the reader of runs.

    Raises:
        BadInput: a pattern matches nothing; a short name of a run is not unique.

    """
    found: dict[str, str] = {}
    for word in typed:
        for path in _matching(word):
            for run in _runs_of(path):
                found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def _matching(word: str) -> list[str]:
    if os.path.exists(word) or not any(c in word for c in PATTERN):
        return [word]
    if not (paths := sorted(glob.glob(word, recursive=True))):
        raise BadInput("no path matches", word, "rl-runs lists the runs")
    return [path for path in paths if os.path.isdir(path)] or paths


def _runs_of(path: str) -> list[str]:
    named = run_names.note_run(path, path)
    folder = Path(named)
    is_run = any(
        (folder / name).exists() for name in ("config.yaml", "checkpoints", "manifest.json")
    )
    if is_run or not folder.is_dir() or folder.name == "checkpoints":
        return [named]
    return [path_here(run) for run in run_data.find([folder])] or [named]


def evaluate(cfg: ReplayConfig, runs: Sequence[str]) -> int:
    """Evaluate runs, print the table and write evaluations.json.

    Args:
        cfg: keys of rl-eval, which hold for every run; `run` is not used.
        runs: paths of runs or checkpoints.

    Returns:
        0; the exit code of the runs that could not be evaluated, if it is one; 1 for several.

    Raises:
        BadInput: the keys do not fit several runs.
        StorageError: the files cannot be written.

    """
    if cfg.render == "human":
        raise BadInput("a window shows one run", f"render=human, {len(runs)} runs", "name one run")
    devices.require_driver(cfg.device)
    folder = Path(cfg.output) if cfg.output else _output_folder(cfg, runs)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    places = _places(runs, folder)
    codes = _Pool(cfg, places).run()
    found = {run: _result(place) for run, place in places.items() if codes[run] == 0}
    rows = summary.summarize(groups.group(_as_data(found)))
    if cfg.display != "none" and rows:
        table.show_evaluations(rows, {Path(e["checkpoint"]): _rate(e) for e in found.values()})
    content = {"runs": [{"run": run, **value} for run, value in found.items()]}
    content["groups"] = [_group(row) for row in rows]
    with writing_to("output"):
        write_json(folder / "evaluations.json", content)
    if cfg.display != "none":
        terminal.say(f"results:  {relative(folder / 'evaluations.json')}")
    failed = {code for code in codes.values() if code}
    return 0 if not failed else failed.pop() if len(failed) == 1 else 1


def _output_folder(cfg: ReplayConfig, runs: Sequence[str]) -> Path:
    words = json.dumps([*map(os.path.realpath, runs), dataclasses.asdict(cfg)], sort_keys=True)
    code = hashlib.sha256(words.encode()).hexdigest()[:6]
    how = "greedy" if cfg.greedy else "sampled"
    root = run_folder.output_root(*map(Path, runs))
    return root / "runs" / "evals" / f"{len(runs)}_runs_{cfg.checkpoint}_{how}_{code}"


def _places(runs: Sequence[str], folder: Path) -> dict[str, Path]:
    """A folder per run for its evaluation, named after it."""
    places: dict[str, Path] = {}
    for run in runs:
        path = Path(os.path.realpath(run))
        name = (
            path.parent.parent.name + f"_{path.name}"
            if path.parent.name == "checkpoints"
            else path.name
        )
        taken = {place.name for place in places.values()}
        names = (name, *(f"{name}_{i}" for i in range(1, len(runs) + 1)))
        places[run] = folder / next(each for each in names if each not in taken)
    return places


class _Pool:
    """Evaluates runs in child processes.

    Args:
        cfg: keys of rl-eval.
        places: run -> folder of its evaluation.

    """

    def __init__(self, cfg: ReplayConfig, places: Mapping[str, Path]) -> None:
        self.cfg, self.places = cfg, places
        self.size = min(cfg.jobs or processors.available(), len(places))
        self.codes: dict[str, int] = {}

    def run(self) -> dict[str, int]:
        """-> run: its exit code."""
        waiting, running = list(enumerate(self.places)), dict[int, str]()
        executor = self._executor()
        try:
            while waiting or running:
                while waiting and executor.free() > 0:
                    index, run = waiting.pop(0)
                    executor.start(index, self._task(run))
                    running[index] = run
                for ended in executor.wait(WAIT):
                    self._ended(running.pop(ended.number), ended.code)
        except BaseException:
            for index in running:
                executor.send(index, signal.SIGTERM)
            raise
        finally:
            executor.close()
        return self.codes

    def _executor(self) -> LocalExecutor:
        if processes.can_fork():
            evaluate_job.import_modules()
            return ForkExecutor(self.size, evaluate_job.run)
        return SpawnExecutor(self.size, [sys.executable, "-m", evaluate_job.__name__])

    def _task(self, run: str) -> Task:
        place = self.places[run]
        with storing(place):
            place.mkdir(exist_ok=True)
            for name in ("evaluation.json", "output.log"):  # of an earlier start
                (place / name).unlink(missing_ok=True)
        changed = {"run": run, "output": str(place), "display": "none", "jobs": None}
        return Task(
            config=dataclasses.asdict(self.cfg) | changed,
            labels=Labels("", ""),
            concurrent=self.size,
            record={},
            path="",
            folder=run,
            start=str(Path.cwd()),
            output=str(place.absolute() / "output.log"),
        )

    def _ended(self, run: str, code: int) -> None:
        self.codes[run] = code
        log = self.places[run] / "output.log"
        try:
            text = read(log, MAX_BYTES).decode(errors="replace").strip()
        except (OSError, ValueError):
            text = ""
        if not text:
            log.unlink(missing_ok=True)
        name, count = plain(Path(run).name), f"[{len(self.codes)}/{len(self.places)}]"
        if code:
            why = text.splitlines()[:3] if text else [f"its process ended with code {code}"]
            terminal.warn(f"{count} {name}: not evaluated", *(f"  {plain(line)}" for line in why))
        elif self.cfg.display != "none":
            found = _result(self.places[run])["summary"]
            terminal.say(f"{count} {name}: {number(found['mean'])} ± {number(found['std'])}")


def _result(place: Path) -> dict[str, Any]:
    """evaluation.json of a run, which this command has written."""
    content: dict[str, Any] = parse_json(read(place / "evaluation.json", MAX_BYTES))
    return content


def _rate(evaluation: Mapping[str, Any]) -> float | None:
    rate: float | None = evaluation["summary"].get("success_rate")
    return rate


def _as_data(found: Mapping[str, Mapping[str, Any]]) -> list[RunData]:
    """Runs whose folder is the checkpoint, and whose only evaluation is this one.

    If one run has several, checkpoints that are named as such form groups of their own, by step.
    """
    data = []
    runs = [Path(value["checkpoint"]).parent.parent for value in found.values()]
    by_step = len(set(runs)) < len(runs)
    for run, value in found.items():
        checkpoint = Path(value["checkpoint"])
        is_named = os.path.realpath(run) == os.path.realpath(checkpoint)
        step = {"checkpoint": value["step"]} if by_step and is_named else {}
        try:
            known = run_data.read_run(checkpoint.parent.parent)
        except BadInput as error:
            terminal.warn(f"note: {plain(run)} is not in the table: {error.what}")
            continue
        data.append(
            dataclasses.replace(
                known,
                folder=checkpoint,
                config={**known.config, **step},
                state="completed",
                steps=np.array([value["step"]]),
                returns=np.array([value["summary"]["mean"]]),
                seconds_at=np.array([np.nan]),
            )
        )
    return data


def _group(row: Row) -> dict[str, Any]:
    group = row.group
    return {
        "algo": group.algo,
        "env": group.env,
        "settings": dict(group.settings),
        "seeds": [run.seed for run in group.runs],
        "returns": row.finals.tolist(),
        "iqm": row.iqm.value,
        "iqm_low": row.iqm.low,
        "iqm_high": row.iqm.high,
        "worst": row.worst,
        "best": row.best,
        "improvement": None if row.improvement is None else row.improvement._asdict(),
    }
