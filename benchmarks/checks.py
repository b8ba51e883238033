"""What do the checks for numbers that are none cost? Runs in which each is done eleven times every other while.

    python benchmarks/checks.py [--runs 9]

The leanest cases of benchmarks/speed.py, where a check weighs most, by the whole of `train`. Turns of so
many env steps, whole rollouts of PPO's, go with each check once and eleven times, within one run, so that
both see the same machine; a tenth of the difference is what the checks cost, and the machine's own unrest
weighs a tenth too. Other work only ever adds time, so of each kind the tenth of the turns that took least
counts. A run gives one number, and the table tells the median and the spread of the runs. Checks: of the
env's numbers, the gradient's norm, rows and weights. The repeated ones find their data in the cache; the
loop around them, which counts too, more than makes up for it.
Writes benchmarks/checks.json and the table in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from speed import CASES, REPO

from rl_cli import algos
from rl_cli.envs import vector
from rl_cli.training import trainer
from rl_cli.training.experiment import train
from rl_cli.training.signals import Interruption

MORE = 10
TURNS = {
    "ppo_cartpole_1x128": 128,
    "dqn_cartpole_cleanrl": 100,
    "dqn_lunarlander_64": 100,
    "ppo_pendulum_cleanrl": 2_048,
}
"""Env steps of a turn; the first fifth of a run, in which DQN fills its buffer, is left out."""
STEPS = {"ppo_pendulum_cleanrl": 40_960}  # for more turns; elsewhere those of the speed table
BARE = (
    "compile=true quiet=true video.episodes=0 log.tensorboard=false eval.every=0 eval.episodes=1 "
    "checkpoint.every=0"
)
CHECKS: tuple[tuple[Any, str], ...] = (
    (trainer.Trainer, "_check_update"),
    (trainer.Trainer, "_check_policy"),
    (trainer, "check_finite"),
    (vector.VectorEnv, "_check_finite"),
    (vector.VectorEnv, "_check_observations"),
)


PLAIN = [getattr(owner, name) for owner, name in CHECKS]


def repeated(check: Any) -> Any:
    def often(*given: object) -> None:
        for _ in range(1 + MORE):
            check(*given)

    return often


OFTEN = [repeated(check) for check in PLAIN]


def put(often: bool) -> None:
    """The checks in their places, once or often; anew each time, since Python has to find them again."""
    for (owner, name), check in zip(CHECKS, OFTEN if often else PLAIN, strict=True):
        setattr(owner, name, check)


class Turns:
    """Asked once per step, as a run asks whether it was interrupted; changes sides at each turn's end."""

    def __init__(self, steps: int) -> None:
        self.steps, self.calls = steps, 0
        self.times: list[tuple[bool, float]] = []  # often?, seconds
        self.often = False
        self.begun = time.thread_time()

    def __call__(self) -> bool:
        self.calls += 1
        if self.calls % self.steps == 0:
            self.times.append((self.often, time.thread_time() - self.begun))
            self.often = len(self.times) % 4 in (1, 2)  # once, often, often, once
            put(self.often)
            self.begun = time.thread_time()
        return False


def cost(name: str, seed: int) -> tuple[float, float]:
    """Seconds of the checks in a turn, and of all of a turn, in one run."""
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
            put(False)
    late = turns.times[len(turns.times) // 5 :]
    often, once = (
        float(np.quantile([t for is_often, t in late if is_often is kind], 0.1))
        for kind in (True, False)
    )
    return (often - once) / MORE, once


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
    page = REPO / "docs/reliability.md"
    marked = re.compile(r"(<!-- checks -->\n).*?(<!-- end checks -->)", re.DOTALL)
    page.write_text(marked.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], page.read_text()))


if __name__ == "__main__":
    main()
