"""Measures learning: trains shipped presets on seeds that no choice of values has seen.

    python benchmarks/learning.py                         every case of this machine, ten seeds each
    python benchmarks/learning.py ppo_cartpole --seeds 5  one case, its first five seeds
    python benchmarks/learning.py --table                 the tables and the pictures again, from the JSON files
    python benchmarks/learning.py --quick                 a few cases on six other seeds: as recorded, or not

A seed is one run (rl-train), whose best and last checkpoints are then evaluated (rl-eval, 100 greedy
episodes). What is complete is kept under runs/learning and not run again, unless the configuration, the
code that decides what is learned or a package changed; seeds of a row that is not complete are kept in
benchmarks/learning_partial.json as well, so that a clone continues it. Writes benchmarks/learning.json, the tables in
docs/learning.md and its pictures, docs/img/learning-<env>.png, which rl-report draws.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import learning_curves
import learning_partial
import learning_sb3
from learning_cases import CASES, EVAL_SEED, Case
from learning_check import FIRST_SEED, QUICK, SEEDS, check
from learning_table import table
from learning_version import fingerprint, packages
from pages import REPO, insert

from rl_cli.report.run_data import read_run

RUNS = REPO / "runs" / "learning"
RECORD = REPO / "benchmarks/learning.json"
BIN = Path(sys.executable).parent

Result = dict[str, Any]


def measure(name: str, case: Case, seed: int, key: str) -> Result:
    """Train one seed, then evaluate its best and its last checkpoint."""
    folder = RUNS / name / key / str(seed)
    if not _completed(folder):
        _train(case, seed, folder)
    run = read_run(folder)
    result: Result = {"seed": seed, "steps": run.step, "seconds": run.seconds}
    for which in ("best", "latest"):
        summary = _evaluate(folder, which)
        result[which], result["success_at"] = summary["mean"], summary["success_at"]
    result["curve"] = [run.steps.tolist(), [round(value, 2) for value in run.returns.tolist()]]
    shown = {k: v for k, v in result.items() if k != "curve"}
    print(name, shown, flush=True)
    return result


def _completed(folder: Path) -> bool:
    status = folder / "status.json"
    return status.exists() and json.loads(status.read_text())["state"] == "completed"


def _train(case: Case, seed: int, folder: Path) -> None:
    """Resume a run that was cut off; start again if it has no checkpoint that can be resumed."""
    if (folder / "checkpoints").exists():
        code = _code("rl-train", f"resume={folder}")
        if code == 0:
            return
        if code != REFUSED:  # hours of training may be in it
            raise SystemExit(f"{folder} ended with code {code}; repeat the command to continue")
    shutil.rmtree(folder, ignore_errors=True)
    words = [*case.words, f"seed={seed}", "quiet=true", "video.every=0", f"run_dir={folder}"]
    if _code("rl-train", *words) != 0:
        raise SystemExit(f"rl-train {' '.join(words)} failed")


def _evaluate(folder: Path, which: str) -> dict[str, Any]:
    out = folder.parent / f"{folder.name}_{which}"
    file = out / "evaluation.json"
    if not file.exists():
        words = [str(folder), f"checkpoint={which}", f"seed={EVAL_SEED}", f"output={out}"]
        if _code("rl-eval", *words) != 0:
            raise SystemExit(f"rl-eval {' '.join(words)} failed")
    summary: dict[str, Any] = json.loads(file.read_text())["summary"]
    return summary


REFUSED = 2
"""Exit code of a command that started nothing."""


def _code(command: str, *words: str) -> int:
    """Run a command of the package. -> its exit code; -n: signal n ended it."""
    done = subprocess.run(
        [str(BIN / command), *words], check=False, cwd=REPO, stdout=subprocess.DEVNULL
    )
    return done.returncode


def record(name: str, results: list[Result], key: str) -> None:
    """Replace the entry of one case in the JSON file."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    known[name] = {
        "key": key,
        "python": platform.python_version(),
        "packages": packages(),
        "results": results,
    }
    text = json.dumps({case: known[case] for case in CASES if case in known})
    RECORD.write_text(text.replace('{"seed"', '\n  {"seed"').replace('}, "', '},\n "') + "\n")


def write_pages() -> None:
    known = results_of(RECORD)
    insert("learning.md", "table", table(known))
    pictures = learning_curves.draw(known, REPO / "docs/img")
    insert("learning.md", "curves", learning_curves.links(pictures))
    learning_sb3.write_page()


def quick(recorded: dict[str, list[Result]], names: Sequence[str], jobs: int) -> bool:
    """Train cases on a few seeds and compare them with the record. -> whether all are as expected."""
    seeds = list(range(FIRST_SEED, FIRST_SEED + SEEDS))
    new: dict[str, list[Result]] = {name: [] for name in names if name in recorded}
    for name, result in measured(dict.fromkeys(new, seeds), jobs):
        new[name].append(result)
    found = check(recorded, new)
    print(*found, sep="\n")
    return all(each.expected for each in found)


def measured(seeds: Mapping[str, Sequence[int]], jobs: int) -> Iterator[tuple[str, Result]]:
    """Results of cases as soon as they are there, `jobs` runs at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        pending = {
            pool.submit(measure, name, CASES[name], seed, key(name)): name
            for name, of in seeds.items()
            for seed in of
        }
        try:
            for run in as_completed(pending):
                yield pending[run], run.result()
        finally:
            pool.shutdown(cancel_futures=True)


def missing(name: str, wanted: Sequence[int]) -> list[int]:
    """Seeds that are to be measured: all of a row that is complete, the rest of one that is not."""
    known = {each["seed"] for each in learning_partial.seeds_of(name, key(name))}
    return [seed for seed in wanted if seed not in known] or list(wanted)


def keep(name: str, result: Result, wanted: Sequence[int]) -> None:
    """Keep one seed; print the row once all that are wanted are there, and record it if it is complete."""
    results = learning_partial.add(name, key(name), result)
    shown = [each for each in results if each["seed"] in wanted]
    if len(shown) < len(wanted):
        return
    print(table({name: shown}), flush=True)
    if len(results) == len(CASES[name].seeds):
        record(name, results, key(name))
        learning_partial.remove(name)
        write_pages()


@functools.cache
def key(name: str) -> str:
    return fingerprint(CASES[name].words)


def results_of(path: Path) -> dict[str, list[Result]]:
    """Results by case of a JSON file."""
    return {name: entry["results"] for name, entry in json.loads(path.read_text()).items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seeds", type=int, default=10, help="fewer than ten write no page")
    parser.add_argument("--jobs", type=int, default=2, help="concurrent processes")
    parser.add_argument("--table", action="store_true", help="only write the pages again")
    parser.add_argument("--quick", action="store_true", help="compare with the record")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return args


def main() -> None:
    args = arguments()
    if args.table:
        write_pages()
        return
    if args.quick:
        sys.exit(not quick(results_of(RECORD), args.cases or QUICK, args.jobs))
    usual = [name for name, case in CASES.items() if not case.long]
    seeds = {name: CASES[name].seeds[: args.seeds] for name in args.cases or usual}
    rest = {name: missing(name, wanted) for name, wanted in seeds.items()}
    for name, result in measured(rest, args.jobs):
        keep(name, result, seeds[name])


if __name__ == "__main__":
    main()
