"""Compares peak memory, time to the first env step and the time of 16 seeds with SB3.

    python benchmarks/footprint.py --sb3 <python with stable-baselines3>            memory and start-up
    python benchmarks/footprint.py --sb3 <python> --part seeds                      needs an idle machine

Memory: the largest resident set of the process or of any child it waited for, as the kernel reports it
(wait4), for the training calls of benchmarks/speed.py with a quarter of their budgets. Start-up: from the
start of the process to the end of the first reset, directly before the first env step; files are in the disk
cache. Seeds: wall-clock time of 16 seeds of one case on two processors; rl-cli runs a sweep with jobs=2, SB3
two processes with eight sequential runs each, which import once.
Writes benchmarks/footprint.json and the tables in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

import numpy as np
from pages import insert
from speed import BIN, REPO, pinned
from speed_cases import CASES, SMALL, dqn

MEMORY = ("dqn_lunarlander_zoo", "ppo_cartpole_zoo", "dqn_mountaincar_zoo")
CORE = os.environ.get("CORE", "0")  # processor of single processes
SEEDS_STEPS = 40_000
SEEDS = dqn("CartPole-v1", "cartpole", (4, 64, 64, 2), 8.0, SEEDS_STEPS, **SMALL)
FIRST_STEP = """
import sys, time, os
from rl_cli.cli import train
from rl_cli.envs.vector import VectorEnv
reset = VectorEnv.reset
def stop_after_reset(self):
    reset(self)
    print(time.time(), flush=True)
    os._exit(0)
VectorEnv.reset = stop_after_reset
train.run(sys.argv[1:])
"""
FIRST_STEP_SB3 = """
import os, sys, time
import gymnasium as gym
from stable_baselines3 import PPO
class First(gym.Wrapper):
    def step(self, action):
        print(time.time(), flush=True)
        os._exit(0)
PPO("MlpPolicy", First(gym.make("CartPole-v1")), device="cpu").learn(1000)
"""


def peak(command: list[str], cwd: str) -> float:
    """Largest resident set, in MB, of a command or of one of its children."""
    with open(os.devnull, "w") as nowhere:
        child = subprocess.Popen(
            ["taskset", "-c", CORE, *command],
            cwd=cwd, env=pinned(), stdout=nowhere, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {child.returncode}")
    return usage.ru_maxrss / 1024


def ours(case: Any, seed: int, *more: str) -> list[str]:
    given = f"compile=true quiet=true run_dir=run{seed} seed={seed} total_timesteps={case.steps}"
    return [str(BIN / "rl-train"), *case.ours.split(), *given.split(), *more]


def theirs(case: Any, seed: int, python: str) -> list[str]:
    call = {**case.theirs, "env": case.env, "num_envs": case.num_envs, "steps": case.steps}
    return [python, str(REPO / "benchmarks/peers/sb3.py"), json.dumps({**call, "seed": seed})]


def memory(sb3: str, pairs: int) -> tuple[dict[str, Any], str]:
    plain = "video.episodes=0 log.tensorboard=false eval.every=0 eval.episodes=1 checkpoint.every=0"
    record: dict[str, Any] = {}
    cases = {name: replace(CASES[name], steps=CASES[name].steps // 4) for name in MEMORY}
    lines = [
        "| case | rl-cli, MB | with default settings, without videos | SB3 | ratio | target |",
        "|---|---|---|---|---|---|",
    ]
    for name in MEMORY:
        rows = []
        for seed in range(pairs):
            with tempfile.TemporaryDirectory() as folder:
                bare = peak(ours(cases[name], seed, *plain.split()), folder)
                full = peak(ours(cases[name], seed + pairs, "video.episodes=0"), folder)
                rows.append((bare, full, peak(theirs(cases[name], seed, sb3), folder)))
        bare, full, other = np.median(rows, axis=0)
        record[name] = rows
        lines.append(
            f"| `{name}` | {bare:.0f} | {full:.0f} | {other:.0f} | **{bare / other:.2f}** | 1 |"
        )
        print(lines[-1], flush=True)
    return record, "\n".join(lines)


def first_step(command: list[str]) -> float:
    """Seconds from the start of a process to the time that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        done = subprocess.run(
            ["taskset", "-c", CORE, *command],
            cwd=folder, env=pinned(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(done.stdout.splitlines()[-1]) - start


def time_of_help() -> float:
    start = time.perf_counter()
    subprocess.run(
        ["taskset", "-c", CORE, str(BIN / "rl-train"), "--help"], check=True, capture_output=True
    )
    return time.perf_counter() - start


def startup(sb3: str, runs: int) -> tuple[dict[str, Any], str]:
    step = [sys.executable, "-c", FIRST_STEP]
    measures = {
        "`rl-train --help`": (time_of_help, "1 s"),
        "`rl-train`, DQN on CartPole, to the first env step": (lambda: first_step(step), "3 s"),
        "`rl-train algo=ppo`, to the first env step": (lambda: first_step([*step, "algo=ppo"]), "3 s"),
        "`import torch` alone": (lambda: first_step([sys.executable, "-c", "import time, torch; print(time.time())"]), ""),
        "SB3, PPO on CartPole, to the first env step": (lambda: first_step([sb3, "-c", FIRST_STEP_SB3]), ""),
    }  # fmt: skip
    record: dict[str, Any] = {}
    lines = ["| seconds | median | largest | target |", "|---|---|---|---|"]
    for name, (measure, target) in measures.items():
        measure()
        times = [measure() for _ in range(runs)]
        record[name.replace("`", "")] = times
        lines.append(f"| {name} | {np.median(times):.2f} | {max(times):.2f} | {target} |")
        print(lines[-1], flush=True)
    return record, "\n".join(lines)


def sixteen_seeds(sb3: str) -> tuple[dict[str, Any], str]:
    """Time of 16 seeds on two processors, measured once."""
    plain = "video.episodes=0 log.tensorboard=false eval.every=0 eval.episodes=1 checkpoint.every=0"
    numbers = ",".join(str(i) for i in range(16))
    given = f"compile=true seed={numbers} jobs=2 total_timesteps={SEEDS.steps}"
    sweep = [str(BIN / "rl-train"), "-m", *SEEDS.ours.split(), *given.split(), *plain.split()]
    halves = []
    for half in range(2):
        call = {**SEEDS.theirs, "env": SEEDS.env, "num_envs": 1, "steps": SEEDS.steps}
        call["seeds"] = list(range(8 * half, 8 * half + 8))
        halves.append([sb3, str(REPO / "benchmarks/peers/sb3.py"), json.dumps(call)])
    with tempfile.TemporaryDirectory() as folder:
        # fills the build cache
        subprocess.run([*ours(SEEDS, 99), "video.episodes=0"], cwd=folder, env=pinned(), check=True)
        start = time.perf_counter()
        subprocess.run(["taskset", "-c", "0,1", *sweep], cwd=folder, env=pinned(), check=True)
        mine = time.perf_counter() - start
        start = time.perf_counter()
        both = [
            subprocess.Popen(["taskset", "-c", str(i), *half], cwd=folder, env=pinned())
            for i, half in enumerate(halves)
        ]
        codes = [child.wait() for child in both]
        other = time.perf_counter() - start
    assert codes == [0, 0]
    row = f"| {SEEDS.steps:,} | {mine:.0f} s | {other:.0f} s | **{other / mine:.1f}x** | 8x |"
    print(row)
    head = "| env steps of each | rl-cli | SB3 | ratio | target |\n|---|---|---|---|---|\n"
    return {"ours": mine, "sb3": other, "steps": SEEDS.steps}, head + row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sb3", metavar="PYTHON", required=True)
    parser.add_argument("--part", nargs="*", default=["memory", "startup"],
                        choices=["memory", "startup", "seeds"])  # fmt: skip
    args = parser.parse_args()
    path = REPO / "benchmarks/footprint.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    measures = {
        "memory": lambda: memory(args.sb3, 3),
        "startup": lambda: startup(args.sb3, 10),
        "seeds": lambda: sixteen_seeds(args.sb3),
    }
    for part in args.part:
        record[part], table = measures[part]()
        insert("performance.md", part, table)
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
