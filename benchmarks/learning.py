"""Measures learning: trains each case on seeds that were not used to choose hyper-parameters.

    python benchmarks/learning.py              every case, twenty seeds; completed runs are kept
    python benchmarks/learning.py --case ppo_cartpole --seeds 5 6

Writes benchmarks/learning.json, docs/img/learning.png and the table in docs/results.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pages import insert

from rl_cli.tracking.statistics import iqm, iqm_interval

REPO = Path(__file__).resolve().parents[1]
RUNS = REPO / "runs" / "learning"
BIN = Path(sys.executable).parent
SEEDS = list(range(414, 434))  # not used to choose values
OTHER_SEEDS = {  # of cases whose values were changed after a look at SEEDS
    "dqn_cartpole": list(range(454, 474)),
    "dqn_mountaincar": list(range(474, 494)),
}
CASES = {  # name: (algo, env, target for the mean return of 100 greedy episodes, target share of seeds)
    "dqn_mountaincar": ("dqn", "mountaincar", -110, 0.8),
    "dqn_cartpole": ("dqn", "cartpole", 475, 1.0),
    "ppo_cartpole": ("ppo", "cartpole", 475, 1.0),
    "reinforce_cartpole": ("reinforce", "cartpole", 475, 0.8),
    "ppo_lunarlander": ("ppo", "lunarlander", 200, 0.8),
}


def measure(case: str, seed: int) -> dict[str, object]:
    """Train one seed, then evaluate its best and its last checkpoint over 100 episodes each."""
    algo, env, _, _ = CASES[case]
    folder = RUNS / case / str(seed)
    if not _completed(folder):
        args = [f"algo={algo}", f"env={env}", f"seed={seed}", "quiet=true", "video.every=0"]
        call(["rl-train", *args, f"run_dir={folder}"])
    status = json.loads((folder / "status.json").read_text())
    result: dict[str, object] = {
        "seed": seed,
        "steps": status["step"],
        "seconds": status["seconds"],
    }
    for which in ("best", "latest"):
        out = folder.parent / f"{seed}_{which}"
        if not (out / "evaluation.json").exists():
            call(["rl-eval", str(folder), f"checkpoint={which}", f"output={out}"])
        result[which] = json.loads((out / "evaluation.json").read_text())["summary"]["mean"]
    print(case, result, flush=True)
    return result


def call(command: list[str]) -> None:
    subprocess.run([str(BIN / command[0]), *command[1:]], check=True, stdout=subprocess.DEVNULL)


def _completed(folder: Path) -> bool:
    status = folder / "status.json"
    return status.exists() and json.loads(status.read_text())["state"] == "completed"


def table(results: dict[str, list[dict[str, float]]]) -> str:
    lines = [
        "| case | steps | target | seeds that reach it | best checkpoint: IQM [95 % interval] | lowest seed "
        "| last checkpoint: IQM [95 % interval] | lowest seed | seconds a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, rows in results.items():
        algo, env, goal, share = CASES[case]
        best, last = (np.array([row[which] for row in rows]) for which in ("best", "latest"))
        reached, seconds = int((best >= goal).sum()), np.median([row["seconds"] for row in rows])
        lines.append(
            f"| `algo={algo} env={env}` | {rows[0]['steps']:,} | {goal} on {share:.0%} "
            f"| **{reached} of {len(rows)}** | {cell(best)} | {best.min():.1f} "
            f"| {cell(last)} | {last.min():.1f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def cell(returns: np.ndarray) -> str:
    low, high = iqm_interval(returns)
    return f"{float(iqm(returns)):.1f} [{low:.1f}, {high:.1f}]"


def plot(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Plot evaluation returns over steps: a thin line per seed, a thick line for the interquartile mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(3.4 * len(results), 3), layout="constrained"
    )
    for axis, (case, rows) in zip(np.atleast_1d(axes), results.items(), strict=True):
        algo, env, goal, _ = CASES[case]
        curves = [curve(RUNS / case / str(row["seed"]) / "eval.csv") for row in rows]
        for steps, returns in curves:
            axis.plot(steps, returns, lw=0.6, alpha=0.35, color="tab:blue")
        middle = [
            float(iqm(np.array(column))) for column in zip(*(y for _, y in curves), strict=True)
        ]
        axis.plot(curves[0][0], middle, lw=2, color="tab:blue")
        axis.axhline(goal, color="black", lw=0.8, ls=":")
        axis.set(title=f"{algo} {env}", xlabel="env steps")
        axis.grid(alpha=0.25)
    np.atleast_1d(axes)[0].set_ylabel("evaluation return")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def curve(path: Path) -> tuple[list[int], list[float]]:
    by_step: dict[int, list[float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            by_step.setdefault(int(row["step"]), []).append(float(row["episode_return"]))
    return list(by_step), [float(np.mean(v)) for v in by_step.values()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", nargs="*", type=int, help="instead of the seeds of each case")
    parser.add_argument("--jobs", type=int, default=2, help="concurrent processes")
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = {
            case: [
                pool.submit(measure, case, seed)
                for seed in args.seeds or OTHER_SEEDS.get(case, SEEDS)
            ]
            for case in args.case
        }
        results = {case: [f.result() for f in runs] for case, runs in futures.items()}
    if args.case != list(CASES) or args.seeds:
        print(table(results))
        return
    packages = {name: version(name) for name in ("torch", "gymnasium", "numpy", "rl-cli")}
    record = {"python": platform.python_version(), "packages": packages, "results": results}
    (REPO / "benchmarks/learning.json").write_text(json.dumps(record, indent=1) + "\n")
    plot(results, REPO / "docs/img/learning.png")
    insert("results.md", "table", table(results), "end")


if __name__ == "__main__":
    main()
