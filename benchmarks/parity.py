"""Compares learning with the compiled step and with the plain step.

    python benchmarks/parity.py                 ten seeds of each case; completed runs are kept
    python benchmarks/parity.py --case ppo_cartpole                             one row of the table
    python benchmarks/parity.py --case ppo_cartpole --first 60 --seeds 40       more seeds: printed only

Both start from the same weights and draw the same random numbers. Rounding makes them differ after some
hundred updates, so the script compares the mean return over all evaluations of a run, the area under its
curve. Prints the difference of the means over seeds with a 95 % bootstrap interval. Writes benchmarks/parity.json and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pages import insert
from speed_cases import CASES as SPEED

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RECORD = REPO / "benchmarks/parity.json"
TUNED = {
    "dqn_cartpole": "algo=dqn env=cartpole total_timesteps=30000 eval.every=3000",
    "dqn_mountaincar": "algo=dqn env=mountaincar total_timesteps=60000 eval.every=6000",
    "ppo_cartpole": "algo=ppo env=cartpole total_timesteps=30000 eval.every=3000",
    "ppo_pendulum": "algo=ppo env=pendulum total_timesteps=60000 eval.every=6000",
    "ppo_lunarlander": "algo=ppo env=lunarlander total_timesteps=100000 eval.every=10000",
}
STEPS = {
    "ppo_cartpole_zoo": 60_000, "ppo_cartpole_1x128": 25_600, "ppo_pendulum_cleanrl": 61_440,
    "ppo_lunarlander_zoo": 131_072, "dqn_cartpole_cleanrl": 60_000, "dqn_cartpole_zoo": 20_000,
    "dqn_lunarlander_64": 40_000, "dqn_lunarlander_zoo": 15_000, "dqn_mountaincar_notebook": 12_000,
    "dqn_mountaincar_zoo": 120_000,
}  # fmt: skip
"""Env steps of those cases of benchmarks/speed.py that learn something."""
CASES = TUNED | {
    name: f"{SPEED[name].ours} total_timesteps={steps} eval.every={steps // 10} eval.episodes=5"
    for name, steps in STEPS.items()
}


def area(runs: Path, case: str, compile_it: bool, seed: int) -> float:
    """Mean return over all evaluations of a run; trains it unless it is completed."""
    folder = runs / case / ("compiled" if compile_it else "plain") / str(seed)
    if not (folder / "status.json").exists():
        switches = (
            f"compile={str(compile_it).lower()} seed={seed} quiet=true video.episodes=0 "
            f"log.tensorboard=false checkpoint.every=0 run_dir={folder}"
        )
        command = [str(BIN / "rl-train"), *CASES[case].split(), *switches.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "completed"
    assert status["compiled"] == compile_it
    with (folder / "eval.csv").open() as file:
        return float(np.mean([float(row["episode_return"]) for row in csv.DictReader(file)]))


def interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap of mean(first) - mean(second), seeds drawn independently."""
    rng = np.random.default_rng(0)
    draws = [
        rng.choice(first, len(first)).mean() - rng.choice(second, len(second)).mean()
        for _ in range(10_000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=200, help="first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / "parity")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    record = json.loads(RECORD.read_text())
    for case in args.case:
        with ThreadPoolExecutor(args.jobs) as pool:
            futures = [
                [pool.submit(area, args.runs, case, kind, seed) for seed in seeds]
                for kind in (True, False)
            ]
            fast, plain = ([f.result() for f in kind] for kind in futures)
        measured = {"seeds": list(seeds), "compiled": fast, "plain": plain}
        print(row(case, measured), flush=True)
        if (args.first, args.seeds) == (200, 10):  # after each row, because all rows take hours
            record[case] = measured
            publish({name: record[name] for name in CASES if name in record})


def row(case: str, measured: dict[str, Any]) -> str:
    fast, plain = np.array(measured["compiled"]), np.array(measured["plain"])
    low, high = interval(fast, plain)
    name = (
        f"`{CASES[case].split(' eval')[0]}`"
        if case in TUNED
        else f"`{case}`, {STEPS[case]:,} steps"
    )
    means = f"{fast.mean():.1f} | {plain.mean():.1f} | {fast.mean() - plain.mean():+.1f}"
    return f"| {name} | {means} [{low:+.1f}, {high:+.1f}] |"


def publish(record: dict[str, dict[str, list[float]]]) -> None:
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "| case | compiled, mean return over the run | plain | difference [95 % interval] |",
        "|---|---|---|---|",
        *(row(case, measured) for case, measured in record.items()),
    ]
    insert("performance.md", "parity", "\n".join(lines))


if __name__ == "__main__":
    main()
