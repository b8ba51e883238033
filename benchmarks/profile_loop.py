"""Measures the parts of the training loop, for each case of benchmarks/speed.py.

    python benchmarks/profile_loop.py [case ...]

Writes the table in docs/performance.md if no case is given.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from loop import Loop
from pages import insert
from speed_cases import CASES, Case

from rl_cli.algos import ppo
from rl_cli.collectors.native import NativeCollector

REPO = Path(__file__).resolve().parents[1]
COLUMNS = ("collect", "act", "env", "store", "sample", "learn", "rest of update", "log", "loop")


class Times:
    """Processor time spent in callables, without the time in nested ones."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.within: list[float] = []

    def wrap(self, owner: Any, name: str, column: str) -> None:
        """Measure `owner.name` from now on."""
        inner, clock = getattr(owner, name), time.thread_time

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.within.append(0.0)
            start = clock()
            try:
                return inner(*args, **kwargs)
            finally:
                spent = clock() - start
                self.spent[column] += spent - self.within.pop()
                if self.within:
                    self.within[-1] += spent

        setattr(owner, name, timed)


def profile(name: str, case: Case) -> str:
    """A row of the table, measured in the last third of a run, after warm-up.

    There `Algorithm.update` makes the updates instead of the inline updates; the second third measures a
    step with inline updates.
    """
    loop, times = Loop([*case.ours.split(), "compile=true"], 3 * case.steps), Times()
    gc.freeze()  # as in a run
    loop.turn(case.steps)
    with_updates_in_c = loop.turn(case.steps)
    algo, before = loop.algo, loop.algo.learner.updates
    if isinstance(loop.collector, NativeCollector):
        loop.collector.inline = None
        times.wrap(loop, "collect", "collect")
    sampler = (algo.buffer, "sample") if hasattr(algo.buffer, "sample") else (ppo, "minibatches")
    parts = [(algo, "act"), (loop.envs, "step"), (algo, "observe"), sampler]
    learner = algo.learner
    parts += [(learner, "update"), (learner, "infer"), (algo, "update"), (loop.logger, "add")]
    columns = ("act", "env", "store", "sample", "learn", "learn", "rest of update", "log")
    module: Any = ppo
    original = module.minibatches
    for (owner, method), column in zip(parts, columns, strict=True):
        times.wrap(owner, method, column)
    total = loop.turn(case.steps)
    module.minibatches = original
    spent = {column: times.spent[column] / case.steps * 1e6 for column in COLUMNS}
    spent["loop"] = total - sum(spent.values())
    cells = " | ".join(f"{spent[c]:.1f}" if spent[c] else "" for c in COLUMNS)
    updates = (algo.learner.updates - before) / case.steps
    return f"| `{name}` | {cells} | {total:.1f} | {with_updates_in_c:.1f} | {updates:.3f} |"


def main() -> None:
    torch.set_num_threads(1)
    names = sys.argv[1:] or [
        name for name in CASES if "sheeprl" not in name and "as" not in name.split("_")
    ]
    titles = ("case", *COLUMNS, "sum", "with updates in C", "updates per step")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name in names:
        lines.append(profile(name, CASES[name]))
        print(lines[-1], flush=True)
    if not sys.argv[1:]:
        insert("performance.md", "profile", "\n".join(lines))


if __name__ == "__main__":
    main()
