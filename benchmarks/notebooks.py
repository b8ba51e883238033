"""Compares the presets of the notebooks, over new seeds, with the current default for the same environment.

    python benchmarks/notebooks.py                              every preset, five seeds, two runs at a time
    python benchmarks/notebooks.py --preset cartpole_reinforce --seeds 3 --jobs 4
    python benchmarks/notebooks.py --defaults                   the defaults only; presets as recorded
    python benchmarks/notebooks.py --quick                      a few episodes of each, to test the script

Each preset is a sweep in runs/notebooks/<preset>; the same command again runs only the missing jobs. The table
has the mean of the last 100 training episodes and of 100 greedy episodes, over seeds, with the 95 % interval
of Student's t. Presets are evaluated with their last weights, as in the notebooks, defaults with their best
checkpoint, as rl-eval does. Writes benchmarks/notebooks.json and the table in docs/notebooks.md, if that has
the marks for it; with fewer presets or seeds, or with --quick, it only prints the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

REPO = Path(__file__).resolve().parents[1]
RUNS = REPO / "runs" / "notebooks"
PAGE, RECORD = REPO / "docs" / "notebooks.md", REPO / "benchmarks" / "notebooks.json"
FIRST_SEED = 400  # 0 to 319 were used to choose values
COUNTERPART_OFFSET = 5  # seeds 400 to 404 were used to choose values of the defaults
EPISODES = 100


class Case(NamedTuple):
    """A preset, its notebook, and the default for the same environment; None: the preset is the default."""

    preset: str
    notebook: str
    counterpart: str | None


LANDER, CARTPOLE = "algo=ppo env=lunarlander", "algo=ppo env=cartpole"
CASES = (
    Case("mountaincar_dqn_hard_target", "000", "algo=ppo env=mountaincar"),
    Case("lunarlander_continuous_ppo_episodes", "000", "algo=ppo env=lunarlander_continuous"),
    Case("cartpole_reinforce", "001", CARTPOLE),
    Case("lunarlander_reinforce", "001", LANDER),
    Case("lunarlander_windy_dqn", "001", "experiment=lunarlander_windy"),
    Case("cartpole_dqn_online", "002", CARTPOLE),
    Case("cartpole_dqn_replay", "002", CARTPOLE),
    Case("cartpole_dqn_prioritized", "002", CARTPOLE),
    Case("cartpole_sarsa", "002", CARTPOLE),
    Case("lunarlander_dqn_soft_target", "003", LANDER),
    Case("cartpole_dqn_no_target", "004", f"{CARTPOLE} env.max_episode_steps=200"),
)
ALWAYS = (
    "log.window=100",
    "quiet=true",
    "video.every=0",
    "video.episodes=0",
    "video.every_episodes=0",
)
QUICK = (
    *("total_timesteps=1500", "total_episodes=12", "eval.every=0", "eval.every_episodes=0"),
    *("stop.eval_return=null", "stop.train_return=null", "eval.episodes=2", "log.every=100"),
    *("compile=false", "log.tensorboard=false"),
)


class Options(NamedTuple):
    """Options of the command line."""

    seeds: list[int]
    jobs: int
    quick: bool
    folder: Path


def call(module: str, words: list[str]) -> int:
    """Run a command of rl-cli in this repository. Returns its exit code."""
    code = f"import sys; from rl_cli.cli.{module} import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=REPO, check=False).returncode


def measure(name: str, words: str, which: str, options: Options) -> list[dict[str, Any]]:
    """Train the missing seeds of a preset and evaluate each. Returns a row per seed, sorted by seed."""
    folder = options.folder / name
    sweep = ["-m", *words.split(), f"seed={','.join(map(str, options.seeds))}", *ALWAYS]
    sweep += QUICK if options.quick else ()
    call("train", [*sweep, f"jobs={options.jobs}", f"hydra.sweep.dir={folder}"])
    rows = [
        row
        for path in sorted(folder.glob("job_*.json"))
        if (row := read_row(folder, json.loads(path.read_text()), which, options)) is not None
    ]
    if len({row["seed"] for row in rows}) < len(rows):
        sys.exit(
            f"{folder} contains runs with different configurations of this preset: delete the old ones"
        )
    return sorted(rows, key=lambda row: row["seed"])


def read_row(
    folder: Path, job: dict[str, Any], which: str, options: Options
) -> dict[str, Any] | None:
    """Results of one run; None if it is incomplete or of another seed."""
    if job["seed"] not in options.seeds or job["state"] != "completed":
        return None
    run = REPO / job["run_dir"]
    status = json.loads((run / "status.json").read_text())
    out = folder / f"evaluation_{which}_{job['config']}"
    if not (out / "evaluation.json").exists():
        episodes = 2 if options.quick else EPISODES
        words = [str(run), f"checkpoint={which}", f"episodes={episodes}", f"output={out}"]
        if call("evaluate", words):
            return None
    with (run / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    return {
        "seed": job["seed"],
        "steps": status["step"],
        "episodes": status["training"].get("episodes", 0),
        "ended": status["reason"],
        "seconds": status["seconds"],
        "training": float(last["rollout/running_return"] or "nan"),
        "success": status["training"].get("success_rate"),
        "evaluation": json.loads((out / "evaluation.json").read_text())["summary"]["mean"],
    }


def cell(values: list[float], target: int) -> str:
    """Mean and interval, with the number of runs if some of `target` are missing."""
    found = np.array(values)
    if len(found) < 2:
        text = f"{found[0]:.1f}" if len(found) else "-"
    else:
        # Student's t: exact for few normal values. Not stats.t.interval: nan if all are equal.
        error = stats.sem(found) * stats.t.ppf(0.975, len(found) - 1)
        low, high = found.mean() - error, found.mean() + error
        text = f"{found.mean():.1f} [{low:.1f}, {high:.1f}]"
    return text if len(found) == target else f"{text} ({len(found)} of {target} runs)"


def table(results: dict[str, list[dict[str, Any]]], cases: list[Case], seeds: int) -> str:
    """Markdown table with a row per preset."""
    lines = [
        "| notebook | preset | episodes | last 100 of training | 100 greedy episodes | seconds "
        "| default | 100 greedy episodes | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        ours, other = results[case.preset], results.get(case.counterpart or "", [])
        cells = [
            case.notebook,
            f"`experiment={case.preset}`",
            f"{np.mean([row['episodes'] for row in ours]):,.0f}" if ours else "-",
            cell([row["training"] for row in ours], seeds),
            cell([row["evaluation"] for row in ours], seeds),
            f"{np.median([row['seconds'] for row in ours]):.0f}" if ours else "-",
            f"`{case.counterpart}`" if case.counterpart else "-",
            cell([row["evaluation"] for row in other], seeds) if case.counterpart else "-",
            f"{np.median([row['seconds'] for row in other]):.0f}" if other else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def collect(
    cases: list[Case], options: Options, recorded: Mapping[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """Rows by name of the preset and by arguments of the counterpart; each counterpart is measured once.

    Presets that have rows in `recorded` are not run.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        if case.preset in recorded:
            results[case.preset] = recorded[case.preset]
        elif not (REPO / "conf/experiment" / f"{case.preset}.yaml").exists():
            print(f"experiment={case.preset} does not exist", file=sys.stderr)
            results[case.preset] = []
        else:
            results[case.preset] = measure(
                case.preset, f"experiment={case.preset}", "latest", options
            )
        if case.counterpart is not None and case.counterpart not in results:
            name = re.sub(r"[^\w]+", "_", case.counterpart.replace("algo=", "").replace("env=", ""))
            fresh = options._replace(seeds=[seed + COUNTERPART_OFFSET for seed in options.seeds])
            results[case.counterpart] = measure(name, case.counterpart, "best", fresh)
    return results


def publish(results: dict[str, list[dict[str, Any]]], text: str, seeds: list[int]) -> None:
    packages = {name: version(name) for name in ("torch", "gymnasium", "numpy", "rl-cli")}
    about = {"python": platform.python_version(), "packages": packages, "seeds": seeds}
    RECORD.write_text(json.dumps(about | {"results": results}, indent=1) + "\n")
    if PAGE.exists():
        marked = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
        PAGE.write_text(marked.sub(lambda m: m[1] + text + "\n" + m[2], PAGE.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [case.preset for case in CASES]
    parser.add_argument("--preset", nargs="*", default=names, choices=names)
    parser.add_argument(
        "--seeds", type=int, default=5, help="number of seeds, from 400 on; of defaults from 405 on"
    )
    parser.add_argument("--jobs", type=int, default=2, help="concurrent runs")
    parser.add_argument("--defaults", action="store_true", help="take the presets as recorded")
    parser.add_argument("--quick", action="store_true", help="a few episodes, two seeds")
    args = parser.parse_args()
    count = 2 if args.quick else args.seeds
    seeds = list(range(FIRST_SEED, FIRST_SEED + count))
    folder = RUNS / "quick" if args.quick else RUNS
    cases = [case for case in CASES if case.preset in args.preset]
    recorded = json.loads(RECORD.read_text())["results"] if args.defaults else {}
    results = collect(cases, Options(seeds, args.jobs, args.quick, folder), recorded)
    text = table(results, cases, count)
    print(text)
    if not args.quick and cases == list(CASES) and args.seeds == 5:
        publish(results, text, seeds)


if __name__ == "__main__":
    main()
