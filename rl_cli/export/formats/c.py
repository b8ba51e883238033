"""policy.h: a C99 header without dependencies, with a self-test."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.core.errors import RunError, plain
from rl_cli.export.base import Exporter
from rl_cli.export.c_source import array, body, c_type, weights
from rl_cli.export.comparison import TOLERANCE
from rl_cli.export.graph import Graph
from rl_cli.storage.atomic_files import write_atomic

TESTED_NUMBERS = 4_096
"""Numbers of the observations of the self-test, at most; at least one observation."""

SEARCHED = 100
"""Recorded observations among which those of the self-test are searched, about."""

SECONDS = 300
"""Time limit of the compiler."""


class CHeader(Exporter):
    """A header with one function and the weights."""

    def export(self) -> list[Path]:
        graph = self.context.traced.graph
        text = header(graph, self.context.facts(), *self._tested(graph))
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            self.unchecked("there is no C compiler (cc, gcc or clang)")
        else:
            with tempfile.TemporaryDirectory() as folder:
                run = compiled(text, graph, compiler, Path(folder))
                self.report(self.context.compare(run), f"compiled with {Path(compiler).name}")
        path = self.context.output / "policy.h"
        write_atomic(path, text.encode())
        return [path]

    def _tested(self, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
        """Observations of the self-test, evenly spaced over the recorded ones, and the policy's actions."""
        obs = self._clear(graph, self.context.recorded.obs)
        count = min(len(obs), max(1, TESTED_NUMBERS // math.prod(graph.obs.shape)), 64)
        rows = obs[np.linspace(0, len(obs) - 1, count).astype(int)]
        actions = np.concatenate([self.context.actions(rows[i : i + 1]) for i in range(count)])
        return self.context.inputs(rows), actions

    def _clear(self, graph: Graph, obs: np.ndarray) -> np.ndarray:
        """Observations whose two largest scores are apart: another processor rounds in another way."""
        if "scores" not in graph.outputs or graph.action.shape:
            return obs
        some = obs[:: max(1, len(obs) // SEARCHED)]
        scores = np.sort(graph.run(self.context.inputs(some))["scores"], axis=-1)
        if scores.shape[-1] == 1:  # there is one action
            return obs
        apart = scores[:, -1] - scores[:, -2] > TOLERANCE * max(1.0, float(np.abs(scores).max()))
        return some[apart] if apart.any() else obs


def header(graph: Graph, facts: dict[str, Any], obs: np.ndarray, actions: np.ndarray) -> str:
    """The text of the header; `obs` and `actions` are those of its self-test."""
    is_discrete = "scores" in graph.outputs
    scores = math.prod(graph.values[graph.outputs["scores"]].shape) if is_discrete else 0
    parameters = "const policy_obs_t *obs, policy_action_t *action"
    lines = [
        *_introduction(facts, is_discrete),
        "#ifndef RL_CLI_POLICY_H",
        "#define RL_CLI_POLICY_H",
        "#include <math.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f"#define POLICY_OBS {math.prod(graph.obs.shape)}        /* numbers of an observation */",
        f"#define POLICY_ACTION {math.prod(graph.action.shape)}     /* numbers of an action */",
        *([f"#define POLICY_SCORES {scores}     /* numbers of the scores */"] if scores else []),
        f"typedef {c_type(graph.obs.dtype)} policy_obs_t;",
        f"typedef {c_type(graph.action.dtype)} policy_action_t;",
        "",
        *weights(graph),
        "",
        f"static inline void policy_act({parameters}{', float *scores' if scores else ''}) {{",
        *(f"  {line}" for line in body(graph)),
        "}",
        "",
        *_self_test(obs, actions, is_discrete),
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _introduction(facts: dict[str, Any], is_discrete: bool) -> Iterator[str]:
    yield "/* A policy trained by rl-cli, as C99 without dependencies (the mathematical functions of libc)."
    yield " *"
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        yield f" * {name}: {plain(text).replace('*/', '* /').replace('/*', '/ *')}"
    yield " *"
    if is_discrete:
        yield " * policy_act(obs, action, scores): the greedy action; scores: Q-values or logits, may be NULL."
    else:
        yield " * policy_act(obs, action): the greedy action, clipped to the bounds of the env."
    yield " * Arrays are row-major. Self-test: cc -std=c99 -O2 -DPOLICY_SELF_TEST -x c policy.h -o test -lm && ./test"
    yield " */"


def _self_test(obs: np.ndarray, actions: np.ndarray, is_discrete: bool) -> Iterator[str]:
    yield "#ifdef POLICY_SELF_TEST"
    yield "#include <stdio.h>"
    yield from array("policy_test_obs", obs)
    yield from array("policy_test_actions", actions)
    bound = TOLERANCE * max(1.0, float(np.abs(actions).max()))
    if actions.dtype.kind in "iu":
        bound = 0.0 if is_discrete else 1.0  # near a half a number may be rounded either way
    call = "policy_act(policy_test_obs + (size_t)t * POLICY_OBS, action"
    yield "int main(void) {"
    yield "  double largest = 0.0;"
    yield f"  for (int t = 0; t < {len(obs)}; ++t) {{"
    yield "    policy_action_t action[POLICY_ACTION];"
    yield f"    {call}{', NULL' if is_discrete else ''});"
    yield "    for (int i = 0; i < POLICY_ACTION; ++i) {"
    yield "      const double apart = fabs((double)action[i] - (double)policy_test_actions[t * POLICY_ACTION + i]);"
    yield "      if (!(apart <= largest)) largest = apart;"
    yield "    }"
    yield "  }"
    yield f'  printf("largest difference of an action over {len(obs)} observations: %.1e\\n", largest);'
    yield f"  return largest <= {max(bound, 1e-12)!r} ? 0 : 1;"
    yield "}"
    yield "#endif"


PROBE = """\
#include "policy.h"
void policy_rows(const policy_obs_t *obs, long rows, policy_action_t *action, float *scores) {
  for (long t = 0; t < rows; ++t)
#ifdef POLICY_SCORES
    policy_act(obs + t * POLICY_OBS, action + t * POLICY_ACTION, scores + t * POLICY_SCORES);
#else
    policy_act(obs + t * POLICY_OBS, action + t * POLICY_ACTION);
  (void)scores;
#endif
}
"""


def compiled(
    text: str, graph: Graph, compiler: str, folder: Path
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Compile a header to a library in `folder`. -> function: observations (B, ...) -> outputs.

    Raises:
        RunError: the compiler refuses it.

    """
    (folder / "policy.h").write_text(text, encoding="utf-8")
    (folder / "probe.c").write_text(PROBE, encoding="utf-8")
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    ran = subprocess.run(
        [compiler, *flags, "probe.c", "-o", "probe.so", "-lm"],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    if ran.returncode != 0:
        reason = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[0]
        raise RunError(f"the header does not compile: {reason}", compiler, "use format=onnx")
    library = ctypes.CDLL(str(folder / "probe.so"))

    def run(obs: np.ndarray) -> dict[str, np.ndarray]:
        obs = np.ascontiguousarray(obs)
        outputs = {
            name: np.empty((len(obs), *graph.values[i].shape), graph.values[i].dtype)
            for name, i in graph.outputs.items()
        }
        pointers = [ctypes.c_void_p(each.ctypes.data) for each in outputs.values()]
        library.policy_rows(ctypes.c_void_p(obs.ctypes.data), ctypes.c_long(len(obs)), *pointers)
        return outputs

    return run
