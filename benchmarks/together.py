"""Do many seeds learn faster as one? One step over a leading axis of seeds beside as many steps in turn.

    python benchmarks/together.py [--seeds 16]

The learning step of each case as a run meets it first: of one seed, and by torch.func.vmap of as many
as asked, each with parameters, Adam's moments, replay or rollout and rows of its own. Both as libraries
of the same compiler, called as in a run (rl_cli/engine/compiled_step.py), and both as plain torch. Those of one seed
take turns, each on memory of its own, so that nothing waits for them in the caches. Microseconds of a
seed's update, the quickest of several tries. Writes the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loop import REPO, Loop
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
    """The step that a run would have compiled."""


def step_of(words: str) -> tuple[Callable[..., Tensors], Tensors, tuple[int, ...]]:
    """A learning step, its arguments, and which of them are others in each update."""

    def compiler(function: Any, arguments: Tensors, changing: Any) -> None:
        if changing:  # or it is asked, not stepped
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
    """The step over a leading axis, Adam's moments written as whole vectors, which vmap cannot do itself."""
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
        begun = time.perf_counter()
        for call in calls:
            call()
        if attempt:  # the first one warms up
            best = min(best, time.perf_counter() - begun)
    return best / UPDATES * 1e6


def measure(words: str, seeds: int) -> list[float]:
    """Microseconds of a seed's update: compiled in turn, compiled together, plain in turn, plain together."""
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
    """They are the same step, or the comparison says nothing."""
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
        f"| step | compiled, in turn | compiled, {args.seeds} together | plain, in turn | plain, {args.seeds} together |",
        "|---|---|---|---|---|",
    ]
    for name, words in CASES.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{us:.0f}" for us in measure(words, args.seeds)) + " |"
        )
        print(lines[-1], flush=True)
    path = REPO / "docs" / "performance.md"
    text, table = path.read_text(), "\n".join(lines)
    path.write_text(
        re.sub(
            r"<!-- together -->.*<!-- end together -->",
            lambda _: f"<!-- together -->\n{table}\n<!-- end together -->",
            text,
            flags=re.S,
        )
    )


if __name__ == "__main__":
    main()
