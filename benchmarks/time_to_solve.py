"""Measures the time to solve: seconds from the start of the command to the end of a run that stops when an
evaluation reaches the threshold of the environment, including start-up and evaluations, over seeds.

    python benchmarks/time_to_solve.py --sb3 <python with stable-baselines3>
    python benchmarks/time_to_solve.py --case cartpole --seeds 300 301      # prints, writes nothing

rl-cli runs `rl-train experiment=fast_<env>`, with values chosen on seeds 300 to 379. SB3 runs the values of
RL Zoo with the same stop rule: the same number of greedy episodes at the same env steps. They run
alternately, on one processor with one thread; the compiled step is in the build cache. Afterwards, not
timed, each policy runs 100 greedy episodes with other seeds; it solves the environment if their mean reaches
the threshold too. Completed runs are kept in runs/time_to_solve. Writes benchmarks/time_to_solve.json,
docs/img/time_to_solve.png and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pages import insert
from speed_cases import LANDER, ZOO_PPO

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RUNS = REPO / "runs" / "time_to_solve"
SEEDS = list(range(80, 100))  # not used to choose values
RECORD = REPO / "benchmarks" / "time_to_solve.json"
CHECKS = "0-1"  # processors of the evaluations that are not timed
CAR = {"learning_rate": 3e-4, "n_steps": 16, "batch_size": 64, "n_epochs": 4, "gamma": 0.99,
       "gae_lambda": 0.98, "ent_coef": 0.0}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "cartpole": {
        "env": "CartPole-v1", "goal": 475, "within": 5, "steps": 100_000,
        "sb3": {"algo": "PPO", "num_envs": 8, "linear": ["learning_rate", "clip_range"],
                "kwargs": {**ZOO_PPO, "clip_range": 0.2}},
    },
    "mountaincar": {
        "env": "MountainCar-v0", "goal": -110, "within": 15, "steps": 1_000_000,
        "seeds": list(range(434, 454)),  # its values were chosen later
        "sb3": {"algo": "PPO", "num_envs": 16, "normalize": True, "kwargs": CAR},
    },
    "lunarlander": {
        "env": "LunarLander-v3", "goal": 200, "within": 60, "steps": 1_000_000,
        "sb3": {"algo": "PPO", "num_envs": 16, "kwargs": LANDER},
    },
}  # fmt: skip
"""goal: threshold; within: target for the median seconds; steps: budget of SB3; seeds: instead of `SEEDS`."""


def pinned(core: str, command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.run(
        ["taskset", "-c", core, *command],
        env={**os.environ, **threads}, text=True, check=True, **kwargs,
    )  # fmt: skip


def ours(name: str, seed: int, core: str, folder: Path) -> dict[str, Any]:
    """Seconds of `rl-train` from its start to its exit."""
    run = folder / "run"
    train = [str(BIN / "rl-train"), f"experiment=fast_{name}", f"seed={seed}", f"run_dir={run}"]
    start = time.perf_counter()
    pinned(core, [*train, "quiet=true"])
    seconds = time.perf_counter() - start
    status = json.loads((run / "status.json").read_text())
    stopped = status["reason"].startswith("eval return")
    return {"seconds": seconds, "stopped": stopped, "steps": status["step"]}


def check(folder: Path) -> float:
    """Mean return of 100 greedy episodes of other seeds; not timed."""
    replay = ["nice", str(BIN / "rl-eval"), str(folder / "run"), f"output={folder / 'check'}"]
    pinned(CHECKS, replay, stdout=subprocess.DEVNULL)
    found = json.loads((folder / "check" / "evaluation.json").read_text())
    return float(found["summary"]["mean"])


def settings(name: str) -> tuple[int, int]:
    """Env steps between evaluations, and episodes per evaluation, from the configuration."""
    shown = subprocess.run(
        [str(BIN / "rl-train"), f"experiment=fast_{name}", "--cfg", "job"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    block = re.search(r"^eval:\n((?:  .*\n)+)", shown, re.MULTILINE)
    assert block
    values = dict(line.strip().split(": ") for line in block[1].splitlines())
    return int(values["every"]), int(values["episodes"])


def theirs(
    name: str, seed: int, core: str, python: str, folder: Path, busy: bool
) -> dict[str, Any]:
    """Seconds from the start of the SB3 script to the end of `learn`.

    busy: processor time instead of wall-clock, a lower bound of it, for a machine with other work.
    """
    case, (every, episodes) = CASES[name], settings(name)
    call_of = {"every": every, "episodes": episodes, "seed": seed, **case["sb3"]}
    call_of |= {key: case[key] for key in ("env", "goal", "steps")}
    script = str(REPO / "benchmarks/peers/sb3_solve.py")
    start = time.time()
    done = pinned(core, [python, script, json.dumps(call_of)], cwd=folder, stdout=subprocess.PIPE)
    result = json.loads(done.stdout.splitlines()[-1])
    return {
        "seconds": result["worked"] if busy else result["ended"] - start,
        "stopped": result["solved"],
        "steps": result["steps"],
        "check": result["check"],
    }


def cached(folder: Path, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The result of `measure`, stored in `folder` and read from there if it exists."""
    path = folder / "result.json"
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = measure(folder)
        path.write_text(json.dumps(result))
        print("/".join(folder.parts[-3:]), result, flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def add_check(folder: Path) -> None:
    """Add the evaluation over 100 episodes to a result that has none."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    if "check" not in result:
        path.write_text(json.dumps(result | {"check": check(folder)}))


def solved(row: dict[str, Any], name: str) -> bool:
    return bool(row["stopped"] and row["check"] >= CASES[name]["goal"])


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    lines = [
        "| env, threshold | by | seeds | median seconds | slowest that stopped | target | stopped by "
        "its evaluation | solved by 100 other episodes | never, within its budget |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, sides in results.items():
        case = CASES[name]
        for side, rows in sides.items():
            if not rows:
                continue
            seconds = [r["seconds"] if r["stopped"] else np.inf for r in rows]
            ended = [r["seconds"] for r in rows if r["stopped"]]
            middle = float(np.median(seconds))  # a seed that never stops counts as infinite
            target = f"{case['within']} s" if side == "rl-cli" else ""
            lines.append(
                f"| {case['env']}, {case['goal']} | {side} | {len(rows)} "
                f"| {f'**{middle:.1f}**' if np.isfinite(middle) else 'never'} "
                f"| {max(ended, default=float('nan')):.1f} | {target} "
                f"| {sum(r['stopped'] for r in rows)} | {sum(solved(r, name) for r in rows)} "
                f"| {sum(not r['stopped'] for r in rows)} |"
            )
    return "\n".join(lines)


def plot(results: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """Plot the share of seeds that have stopped over seconds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(10, 3), sharey=True, layout="constrained", squeeze=False
    )
    for axis, (name, sides) in zip(axes[0], results.items(), strict=True):
        case = CASES[name]
        for (side, rows), color in zip(sides.items(), ("C0", "C1"), strict=False):
            ended = sorted(r["seconds"] for r in rows if r["stopped"])
            if ended:
                shares = np.arange(1, len(ended) + 1) / len(rows)
                last = max(r["seconds"] for r in rows)
                axis.step([ended[0], *ended, last], [0, *shares, shares[-1]], where="post",
                          color=color, label=f"{side}, {len(rows)} seeds")  # fmt: skip
        axis.axvline(case["within"], color="black", lw=0.8, ls=":")
        axis.set(xscale="log", title=f"{case['env']}, {case['goal']}", xlabel="seconds")
        axis.set(ylim=(-0.02, 1.05))
        ticks = [3, 5, 10, 20, 60, 120, 300, 600]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.set_xlim(2.5, 1.4 * max(r["seconds"] for rows in sides.values() for r in rows))
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize=7, loc="lower right")
    axes[0][0].set_ylabel("share of seeds that stopped")
    figure.savefig(path, dpi=110)


def measure(name: str, seeds: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """Rows of both sides, measured alternately; checks run at the same time on another processor."""
    with tempfile.TemporaryDirectory() as warm:  # fill the build cache and the disk cache
        ours(name, 300, args.core, Path(warm))
    mine, other = RUNS / name / "rl-cli", RUNS / name / "SB3"
    checks = ThreadPoolExecutor(1)
    futures = []
    for i, seed in enumerate(seeds):
        cached(mine / str(seed), functools.partial(ours, name, seed, args.core))
        futures.append(checks.submit(add_check, mine / str(seed)))
        if args.sb3 and i < args.sb3_seeds:
            measure_other = functools.partial(
                theirs, name, seed, args.core, args.sb3, busy=args.busy
            )
            cached(other / str(seed), measure_other)
    for future in futures:
        future.result()
    return {
        side.name: [
            json.loads(path.read_text())
            for seed in seeds
            if (path := side / str(seed) / "result.json").exists()
        ]
        for side in (mine, other)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", nargs="*", type=int, help="other seeds; writes nothing")
    parser.add_argument("--sb3-seeds", type=int, default=len(SEEDS), help="number of seeds for SB3")
    parser.add_argument("--core", default="0")
    parser.add_argument("--busy", action="store_true", help="measure SB3 in processor time")
    args = parser.parse_args()
    seeds_of = {name: args.seeds or CASES[name].get("seeds", SEEDS) for name in args.case}
    found = {name: measure(name, seeds, args) for name, seeds in seeds_of.items()}
    print(table(found))
    if args.seeds:
        return
    # merged, because all cases take hours
    results = json.loads(RECORD.read_text()) | found
    RECORD.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, REPO / "docs/img/time_to_solve.png")
    insert("performance.md", "solve", table(results))


if __name__ == "__main__":
    main()
