"""The notebooks' presets over fresh seeds, each beside what one would do today.

    python benchmarks/notebooks.py                              every preset, five seeds, two runs at a time
    python benchmarks/notebooks.py --preset cartpole_reinforce --seeds 3 --jobs 4
    python benchmarks/notebooks.py --quick                      a few episodes of each, to see that all of it runs

Each preset is a sweep in runs/notebooks/<preset>, so the same command again does what is left. Reported
are the mean of the last 100 training episodes and of 100 greedy episodes, of the preset with its last
weights, which is what a notebook has, of today's with its best checkpoint, which is what rl-eval
replays; over seeds, with the 95 % interval of Student's t. Writes benchmarks/notebooks.json and the table in
docs/notebooks.md, where that has a place for it; with any option it prints the table alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

REPO = Path(__file__).resolve().parents[1]
RUNS = REPO / "runs" / "notebooks"
PAGE, RECORD = REPO / "docs" / "notebooks.md", REPO / "benchmarks" / "notebooks.json"
FIRST_SEED = 400  # 0 to 319 have been looked at
TODAYS_OFFSET = 5  # today's values were changed after their runs of 400 to 404 had been looked at
EPISODES = 100


class Case(NamedTuple):
    """A preset, the notebook it is of, and today's answer to the same env; None: there is no other."""

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
    """What was asked for on the command line."""

    seeds: list[int]
    jobs: int
    quick: bool
    folder: Path


def call(module: str, words: list[str]) -> int:
    """One of our commands, as a person would start it in this repository. -> exit code."""
    code = f"import sys; from rl_cli.cli.{module} import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=REPO, check=False).returncode


def measure(name: str, words: str, which: str, asked: Options) -> list[dict[str, Any]]:
    """Train what is left of a preset's seeds and evaluate each; -> a row a seed, in their order."""
    folder = asked.folder / name
    sweep = ["-m", *words.split(), f"seed={','.join(map(str, asked.seeds))}", *ALWAYS]
    sweep += QUICK if asked.quick else ()
    call("train", [*sweep, f"jobs={asked.jobs}", f"hydra.sweep.dir={folder}"])
    rows = [
        row
        for path in sorted(folder.glob("job_*.json"))
        if (row := gathered(folder, json.loads(path.read_text()), which, asked)) is not None
    ]
    if len({row["seed"] for row in rows}) < len(rows):
        sys.exit(
            f"{folder} holds runs of this preset as it was and as it is: take the old ones away"
        )
    return sorted(rows, key=lambda row: row["seed"])


def gathered(
    folder: Path, job: dict[str, Any], which: str, asked: Options
) -> dict[str, Any] | None:
    """What came of one run; None: it is of other seeds, or did not come to its end."""
    if job["seed"] not in asked.seeds or job["state"] != "completed":
        return None
    run = REPO / job["run_dir"]
    status = json.loads((run / "status.json").read_text())
    out = folder / f"evaluation_{which}_{job['config']}"
    if not (out / "evaluation.json").exists():
        episodes = 2 if asked.quick else EPISODES
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


def told(values: list[float], needed: int) -> str:
    """Mean and interval; a run that is missing is said."""
    found = np.array(values)
    if len(found) < 2:
        text = f"{found[0]:.1f}" if len(found) else "-"
    else:
        error = stats.sem(found)  # Student's t: exact for few normal values
        low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), error)
        text = f"{found.mean():.1f} [{low:.1f}, {high:.1f}]"
    return text if len(found) == needed else f"{text} ({len(found)} of {needed} runs)"


def table(results: dict[str, list[dict[str, Any]]], cases: list[Case], seeds: int) -> str:
    """Markdown; a row a preset."""
    lines = [
        "| notebook | preset | episodes | last 100 of training | 100 greedy episodes | seconds "
        "| today | 100 greedy episodes | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        ours, other = results[case.preset], results.get(case.counterpart or "", [])
        cells = [
            case.notebook,
            f"`experiment={case.preset}`",
            f"{np.mean([row['episodes'] for row in ours]):,.0f}" if ours else "-",
            told([row["training"] for row in ours], seeds),
            told([row["evaluation"] for row in ours], seeds),
            f"{np.median([row['seconds'] for row in ours]):.0f}" if ours else "-",
            f"`{case.counterpart}`" if case.counterpart else "-",
            told([row["evaluation"] for row in other], seeds) if case.counterpart else "-",
            f"{np.median([row['seconds'] for row in other]):.0f}" if other else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def collect(cases: list[Case], asked: Options) -> dict[str, list[dict[str, Any]]]:
    """Presets by their names, counterparts by their words; each of these once."""
    results = {}
    for case in cases:
        if not (REPO / "conf/experiment" / f"{case.preset}.yaml").exists():
            print(f"there is no experiment={case.preset} yet", file=sys.stderr)
            results[case.preset] = []
        else:
            results[case.preset] = measure(
                case.preset, f"experiment={case.preset}", "latest", asked
            )
        if case.counterpart is not None and case.counterpart not in results:
            name = re.sub(r"[^\w]+", "_", case.counterpart.replace("algo=", "").replace("env=", ""))
            fresh = asked._replace(seeds=[seed + TODAYS_OFFSET for seed in asked.seeds])
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
        "--seeds", type=int, default=5, help="how many, from 400 on; today's from 405 on"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--quick", action="store_true", help="a few episodes, two seeds")
    args = parser.parse_args()
    count = 2 if args.quick else args.seeds
    seeds = list(range(FIRST_SEED, FIRST_SEED + count))
    folder = RUNS / "quick" if args.quick else RUNS
    cases = [case for case in CASES if case.preset in args.preset]
    results = collect(cases, Options(seeds, args.jobs, args.quick, folder))
    text = table(results, cases, count)
    print(text)
    if not args.quick and cases == list(CASES) and args.seeds == 5:
        publish(results, text, seeds)


if __name__ == "__main__":
    main()
