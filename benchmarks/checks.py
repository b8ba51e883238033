"""Measures the cost of the checks for NaN and infinite numbers.

    python benchmarks/checks.py [--runs 9]

Uses the fastest cases of benchmarks/speed.py, in which a check has the largest share. One run alternates
between turns of a fixed number of env steps with each check done once and done eleven times, so that both see
the same machine. A tenth of the difference is the cost of the checks; variation of the machine counts a tenth
too. Other processes only add time, so the fastest tenth of the turns of each kind counts. A run gives one
number; the table has the median and the spread over runs. Checked are the numbers of the environment, the
gradient norm, rows and weights. Repeated checks find their data in the processor cache; the loop around them
adds more time than that saves. Writes benchmarks/checks.json and the table in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pages import REPO, insert
from speed_cases import CASES

from rl_cli import algos
from rl_cli.envs import vector
from rl_cli.training import policy
from rl_cli.training.callbacks import metrics
from rl_cli.training.experiment import train
from rl_cli.training.signals import Interruption

MORE = 10
TURNS = {
    "ppo_cartpole_1x128": 128,
    "dqn_cartpole_cleanrl": 100,
    "dqn_lunarlander_64": 100,
    "ppo_pendulum_cleanrl": 2_048,
}
"""Env steps per turn. The first fifth of a run, in which DQN fills its buffer, is not counted."""
STEPS = {"ppo_pendulum_cleanrl": 40_960}  # more than in the speed table, for more turns
BARE = (
    "compile=true quiet=true video.episodes=0 log.tensorboard=false eval.every=0 eval.episodes=1 "
    "checkpoint.every=0"
)
CHECKS: tuple[tuple[Any, str], ...] = (
    (metrics.MetricsCallback, "_check_gradient"),
    (policy.RunPolicy, "check_finite"),
    (metrics, "check_finite"),
    (vector.VectorEnv, "_check_finite"),
    (vector.VectorEnv, "_check_observations"),
)


ORIGINAL = [getattr(owner, name) for owner, name in CHECKS]


def repeated(check: Any) -> Any:
    def repeats(*given: object) -> None:
        for _ in range(1 + MORE):
            check(*given)

    return repeats


REPEATED = [repeated(check) for check in ORIGINAL]


def install(repeat: bool) -> None:
    """Install the original or the repeated checks; both ways set attributes, for equal cache misses."""
    for (owner, name), check in zip(CHECKS, REPEATED if repeat else ORIGINAL, strict=True):
        setattr(owner, name, check)


class Turns:
    """Called once per step in place of the interrupt check; switches the checks at the end of each turn."""

    def __init__(self, steps: int) -> None:
        self.steps, self.calls = steps, 0
        self.times: list[tuple[bool, float]] = []  # (repeated, seconds)
        self.repeat = False
        self.start = time.thread_time()

    def __call__(self) -> bool:
        self.calls += 1
        if self.calls % self.steps == 0:
            self.times.append((self.repeat, time.thread_time() - self.start))
            self.repeat = len(self.times) % 4 in (1, 2)  # once, repeated, repeated, once
            install(self.repeat)
            self.start = time.thread_time()
        return False


def cost(name: str, seed: int) -> tuple[float, float]:
    """Seconds of the checks per turn, and of the whole turn, in one run."""
    case, turns = CASES[name], Turns(TURNS[name])
    steps = STEPS.get(name, case.steps)
    words = [*case.ours.split(), *BARE.split(), f"seed={seed}", f"total_timesteps={steps}"]
    with initialize_config_dir(str(REPO / "conf"), version_base=None):
        config: Any = OmegaConf.to_container(compose("config", words), resolve=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Interruption, "__call__", turns),
    ):
        try:
            config = {**config, "run_dir": f"{folder}/run"}
            train(algos.build_run_config(config), config, ("algo", "env"))
        finally:
            install(False)
    late = turns.times[len(turns.times) // 5 :]
    repeated_time, once = (
        float(np.quantile([t for is_repeated, t in late if is_repeated is kind], 0.1))
        for kind in (True, False)
    )
    return (repeated_time - once) / MORE, once


def row(name: str, runs: list[tuple[float, float]]) -> str:
    checks, whole = np.array(runs).T
    more = 100 * checks / whole
    low, middle, high = np.quantile(more, (0.25, 0.5, 0.75))
    per_step = float(np.median(checks)) / TURNS[name] * 1e6
    return (
        f"| `{name}` | {len(more)} | **{middle:.1f} %** ({low:.1f}, {high:.1f}) "
        f"| {more.min():.1f}, {more.max():.1f} | {per_step:.2f} us |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--case", nargs="*", choices=list(TURNS), help="writes nothing")
    args = parser.parse_args()
    record = {}
    lines = [
        "| case | runs | share of the processor time, median (quartiles) | least, most | per env step |",
        "|---|---|---|---|---|",
    ]
    for name in args.case or TURNS:
        record[name] = [cost(name, seed) for seed in range(args.runs)]
        lines.append(row(name, record[name]))
        print(lines[-1], flush=True)
    if args.case:
        return
    (REPO / "benchmarks/checks.json").write_text(json.dumps(record, indent=1) + "\n")
    insert("reliability.md", "checks", "\n".join(lines))


if __name__ == "__main__":
    main()
