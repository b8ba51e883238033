"""Compares one update over a leading axis of seeds (torch.func.vmap) with separate updates per seed.

    python benchmarks/together.py [--seeds 16]

Measures the first update of each case, for one seed and for --seeds seeds, each seed with its own parameters,
moments of Adam, replay or rollout, and rows. Both are compiled and called as in a run
(rl_cli/engine/compiled_step.py), and both also run in plain torch. Updates of single seeds use separate
memory, so that the processor cache does not hold their data. The result is microseconds per update and seed,
the fastest of several tries. Writes the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loop import Loop
from pages import insert
from torch.fx.experimental.proxy_tensor import make_fx

from rl_cli.engine.compiled_step import CompiledStep
from rl_cli.engine.functions import WRITTEN, copied, eager_loop
from rl_cli.engine.inductor import build
from rl_cli.engine.tracing import trace

CASES = {
    "DQN, 64-64, 64 rows": "algo=dqn env=cartpole hparams=none",
    "DQN, 120-84, 128 rows": "algo=dqn env=cartpole hparams=none algo.hidden_sizes=[120,84] algo.batch_size=128",
    "DQN, 256-256, 128 rows": "algo=dqn env=cartpole hparams=none algo.hidden_sizes=[256,256] algo.batch_size=128",
    "PPO, 64-64, 64 rows": "algo=ppo env=cartpole hparams=none",
}
UPDATES, TRIES = 64, 7
Tensors = list[torch.Tensor]


class Found(Exception):
    """Raised with the step that a run would have compiled."""


def step_of(words: str) -> tuple[Callable[..., Tensors], Tensors, tuple[int, ...]]:
    """An update step, its arguments, and the positions of those that change with each update."""

    def compiler(function: Any, arguments: Tensors, changing: Any) -> None:
        if changing:  # without, it is an inference, not an update
            raise Found(function, arguments, tuple(changing))

    loop = Loop([*words.split(), "compile=true"], 1_000_000)
    loop.algo.learner.compile_with(compiler)
    try:
        loop.turn(5_000)
    except Found as found:
        function, arguments, changing = found.args
        return function, arguments, changing
    raise SystemExit(f"{words}: no step within 5,000 env steps")


def of_many(graph: torch.fx.GraphModule, arguments: Tensors) -> torch.fx.GraphModule:
    """The step over a leading axis of seeds; in-place updates of the moments are rewritten for vmap."""
    aten, nodes = torch.ops.aten, graph.graph
    for node in list(nodes.nodes):
        if node.target not in (aten.lerp_.Scalar, aten.addcmul_.default):
            continue
        moment, gradient, other = node.args
        with nodes.inserting_before(node):
            if node.target is aten.lerp_.Scalar:
                change = nodes.call_function(aten.sub.Tensor, (gradient, moment))
                share = other
            else:
                change = nodes.call_function(aten.mul.Tensor, (gradient, other))
                share = node.kwargs["value"]
            change = nodes.call_function(aten.mul.Tensor, (change, share))
            moved = nodes.call_function(aten.add_.Tensor, (moment, change))
        node.replace_all_uses_with(moved)
        nodes.erase_node(node)
    graph.recompile()
    return make_fx(torch.func.vmap(graph))(*copied(arguments))


def rows(arguments: Tensors, changing: tuple[int, ...]) -> Tensors:
    """The same rows for each update."""
    return [
        a.expand(UPDATES, *a.shape).contiguous() if i in changing else a
        for i, a in enumerate(arguments)
    ]


def quickest(calls: list[Callable[[], object]]) -> float:
    """Microseconds of one update of each call, one call after the other."""
    best = float("inf")
    for attempt in range(TRIES + 1):
        start = time.perf_counter()
        for call in calls:
            call()
        if attempt:  # the first one warms up
            best = min(best, time.perf_counter() - start)
    return best / UPDATES * 1e6


def measure(words: str, seeds: int) -> list[float]:
    """Microseconds per update and seed: compiled one by one, compiled together, plain one by one, plain together."""
    step, arguments, changing = step_of(words)
    own = [[a.clone() for a in arguments] for _ in range(seeds)]
    stacked = [torch.stack(column) for column in zip(*own, strict=True)]
    answers = step(*copied(arguments))
    one = trace(step, copied(arguments))
    many = of_many(trace(step, copied(arguments)), stacked)
    close(one, many, own[0], stacked)

    with tempfile.TemporaryDirectory() as folder:
        threads = torch.get_num_threads()
        folders = Path(folder, "single"), Path(folder, "together")
        for made in folders:
            made.mkdir()
        single = build(one, copied(arguments), folders[0], threads, print)
        together = build(many, copied(stacked), folders[1], threads, print)

        def library(path: Path, given: Tensors, outputs: Tensors) -> Callable[[], object]:
            call, whole = CompiledStep(path, given, outputs, changing), rows(given, changing)
            return lambda: call(*whole)

        def plain(function: Any, given: Tensors) -> Callable[[], object]:
            call, whole = eager_loop(function, changing), rows(given, changing)
            return lambda: call(*whole)

        every = [torch.stack([answer] * seeds) for answer in answers]
        return [
            quickest(calls) / seeds
            for calls in (
                [library(single, given, answers) for given in own],
                [library(together, stacked, every)],
                [plain(step, given) for given in own[:2]] * (seeds // 2),
                [plain(many, stacked)],
            )
        ]


def close(one: Any, many: Any, own: Tensors, stacked: Tensors) -> None:
    """Check that both compute the same."""
    alone, all_ = copied(own), copied(stacked)
    one(*alone), many(*all_)
    for a, b in zip(alone[:WRITTEN], all_[:WRITTEN], strict=True):
        torch.testing.assert_close(b, a.expand_as(b), rtol=1e-3, atol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"| step | compiled, one by one | compiled, {args.seeds} together | plain, one by one | plain, {args.seeds} together |",
        "|---|---|---|---|---|",
    ]
    for name, words in CASES.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{us:.0f}" for us in measure(words, args.seeds)) + " |"
        )
        print(lines[-1], flush=True)
    insert("performance.md", "together", "\n".join(lines))


if __name__ == "__main__":
    main()
