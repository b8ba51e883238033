"""Measures rl-runs and rl-report on a sweep of many generated run folders.

    python benchmarks/many_runs.py [--runs 10000] [--folder <new folder>]

Two runs are trained, one of each algorithm; all others are copies with other names, seeds and learning rates, with
20 evaluations of 20 episodes and 100 rows of metrics each, and a record per job in the folder of the sweep.
rl-runs is run three times, of which the fastest counts, rl-report once. Writes
benchmarks/many_runs.json and the table in docs/reports.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pages import REPO, insert

ALGOS, ENVS = ("dqn", "ppo"), ("cartpole", "acrobot", "mountaincar", "lunarlander", "pendulum")
SEEDS = 100
EVALUATIONS, EPISODES, ROWS = 20, 20, 100
BIN = Path(sys.executable).parent
TINY = "env=cartpole total_timesteps=2000 video.episodes=0 log.tensorboard=false quiet=true compile=false"


class Copy(NamedTuple):
    """A run to generate; `job`: its number."""

    job: int
    algo: str
    env: str
    rate: float
    seed: int

    @property
    def folder(self) -> str:
        name = (
            f"20261126-19{self.job // 60 % 60:02d}{self.job % 60:02d}_s{self.seed}_{self.job:04x}"
        )
        return f"runs/{self.algo}/{self.env}/{name}"


def copies(count: int) -> Iterator[Copy]:
    for job in range(count):
        rest, seed = divmod(job, SEEDS)
        rest, algo = divmod(rest, len(ALGOS))
        rate, env = divmod(rest, len(ENVS))
        yield Copy(job, ALGOS[algo], ENVS[env], 1e-4 * (rate + 1), seed)


def generate(root: Path, count: int) -> None:
    """Write `count` run folders and their sweep below a folder."""
    trained = {algo: train(root, algo) for algo in ALGOS}
    rng = np.random.default_rng(0)
    sweep = root / "runs/sweeps/many"
    sweep.mkdir(parents=True)
    for copy in copies(count):
        write(root, sweep, copy, trained[copy.algo], rng)


def train(root: Path, algo: str) -> dict[str, str]:
    """Train a run. -> the texts of its files."""
    words = [f"algo={algo}", f"run_dir=template_{algo}", "hparams=none", *TINY.split()]
    subprocess.run([BIN / "rl-train", *words], cwd=root, check=True)
    names = ("config.yaml", "status.json", "provenance.json")
    return {name: (root / f"template_{algo}" / name).read_text() for name in names}


def write(
    root: Path, sweep: Path, copy: Copy, files: dict[str, str], rng: np.random.Generator
) -> None:
    folder = root / copy.folder
    folder.mkdir(parents=True)
    y = np.cumsum(rng.normal(1, 2, EVALUATIONS))
    config = re.sub(r"(?m)^seed: \d+$", f"seed: {copy.seed}", files["config.yaml"])
    config = config.replace(
        f"labels: [{copy.algo}, cartpole]", f"labels: [{copy.algo}, {copy.env}]"
    )
    config = re.sub(r"\blearning_rate: [\d.e-]+", f"learning_rate: {copy.rate:.4f}", config)
    status = json.loads(files["status.json"]) | {"step": 100_000, "eval_return": y[-1]}
    evaluations = [
        f"{(k + 1) * 5000},{e},{e},{y[k] + e - 10:.3f},100"
        for k in range(EVALUATIONS)
        for e in range(EPISODES)
    ]
    rows = [
        f"{(k + 1) * 1000},{y[k // 5] + k % 7:.4f},100.5,{0.1 + k / 1000:.6f},{k * 0.12:.3f}" for k in range(ROWS)
    ]  # fmt: skip
    texts = {
        "config.yaml": config,
        "status.json": json.dumps(status, indent=2),
        "provenance.json": files["provenance.json"],
        "eval.csv": "\n".join(["step,episode,seed,episode_return,episode_length", *evaluations, ""]),
        "metrics.csv": "\n".join(
            ["step,rollout/episode_return,rollout/episode_length,train/loss,time/elapsed", *rows, ""]
        ),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    words = [
        f"algo={copy.algo}",
        f"env={copy.env}",
        f"algo.learning_rate={copy.rate:.4f}",
        f"seed={copy.seed}",
    ]
    record = {
        "overrides": words, "labels": [copy.algo, copy.env], "seed": copy.seed, "run_dir": copy.folder,
        "start": str(root), "state": "completed", "exit_code": 0, "eval_return": y[-1], "seconds": 12.0,
    }  # fmt: skip
    (sweep / f"job_{copy.job:04d}.json").write_text(json.dumps(record))


def measured(words: list[str], cwd: Path, repeats: int) -> dict[str, float]:
    """Seconds on the clock and of processor time, and the peak memory in MB, of a command."""
    found = []
    for _ in range(repeats):
        began = time.monotonic()
        with open(os.devnull, "w") as nowhere:
            child = subprocess.Popen([BIN / words[0], *words[1:]], cwd=cwd, stdout=nowhere)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(words)} ended with code {child.returncode}")
        cpu = usage.ru_utime + usage.ru_stime
        found.append((time.monotonic() - began, cpu, usage.ru_maxrss / 1024))
    walls, cpus, memories = zip(*found, strict=True)
    return {"wall": min(walls), "cpu": min(cpus), "memory": max(memories)}


def measure(root: Path) -> dict[str, Any]:
    """The record of all commands."""
    sweep = "runs/sweeps/many"
    commands = {
        "rl-runs": ["rl-runs"],
        "rl-runs of one third": ["rl-runs", "runs/dqn/cartpole", "runs/dqn/acrobot", "runs/dqn/mountaincar"],
        "rl-report": ["rl-report", sweep, "pictures=false"],
    }  # fmt: skip
    record: dict[str, Any] = {
        name: measured(words, root, 1 if words[0] == "rl-report" else 3)
        for name, words in commands.items()
    }
    record["rl-report"]["page"] = (root / sweep / "report.html").stat().st_size / 1e6
    return record


def table(record: dict[str, Any], count: int) -> str:
    lines = [
        "| command | seconds | processor seconds | peak memory | page |",
        "|---|---|---|---|---|",
    ]
    shown = {
        "rl-runs": f"`rl-runs`, {count:,} runs",
        "rl-runs of one third": f"`rl-runs`, {record['third']:,} runs",
        "rl-report": f"`rl-report` of a sweep, {count:,} runs",
    }
    for name, text in shown.items():
        found = record[name]
        page = f"{found['page']:.1f} MB" if "page" in found else ""
        lines.append(
            f"| {text} | {found['wall']:.1f} | {found['cpu']:.1f} | {found['memory']:.0f} MB | {page} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="of the runs: kept, and used again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (args.folder or Path(temporary)).absolute()
        if not (root / "runs").exists():
            root.mkdir(parents=True, exist_ok=True)
            generate(root, args.runs)
        record = measure(root)
    third = [c for c in copies(args.runs) if c.algo == "dqn" and c.env in ENVS[:3]]
    record["third"] = len(third)
    lines = table(record, args.runs)
    print(lines)
    (REPO / "benchmarks/many_runs.json").write_text(json.dumps(record, indent=1) + "\n")
    insert("reports.md", "many runs", lines)


if __name__ == "__main__":
    main()
