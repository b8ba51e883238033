"""Where does the time go? The parts of the loop, for each case of benchmarks/speed.py.

    python benchmarks/profile_loop.py [case ...]

Writes the table in docs/performance.md if no case is named.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from speed import CASES, Case

from rl_cli import algos, native
from rl_cli.compiled import StepCompiler, source_digest
from rl_cli.config import RunConfig, build
from rl_cli.seeding import env_seeds
from rl_cli.vector import VectorEnv

REPO = Path(__file__).resolve().parents[1]


def profile(name: str, case: Case) -> str:
    """A row: the second half of a run, so that learning is under way and everything is warm."""
    with initialize_config_dir(str(REPO / "conf"), version_base=None):
        config = OmegaConf.to_container(compose("config", case.ours.split()), resolve=True)
    algo_cls = algos.load(config["algo"]["name"])
    algo_cfg, cfg = build(algo_cls.Config, config["algo"], "algo"), build(RunConfig, config)
    envs = VectorEnv(cfg.env, env_seeds(0, cfg.env.num_envs))
    algo = algo_cls(algo_cfg, envs.spec, case.steps, 0, torch.device("cpu"))
    source = source_digest(sys.modules[algo_cls.__module__])
    algo.learner.native = native.load()
    algo.learner.compiler = StepCompiler(repr((algo_cfg, envs.spec, source)), print)
    obs, clock = envs.reset(), time.thread_time  # other processes' turns are left out
    calls = 2 * case.steps // cfg.env.num_envs
    times, step, before = np.zeros((calls, 5)), 0, 0
    for call in range(calls):
        if call == calls // 2:
            before = algo.learner.updates
        times[call, 0] = clock()
        action = algo.act(obs, step)
        times[call, 1] = clock()
        transition, obs = envs.step(action)
        times[call, 2] = clock()
        algo.observe(transition)
        times[call, 3] = clock()
        step += len(action)
        algo.update(step)
        times[call, 4] = clock()
    steps = (calls - calls // 2) * cfg.env.num_envs
    parts = np.diff(times[calls // 2 :], axis=1).sum(0) / steps * 1e6
    updates = (algo.learner.updates - before) / steps
    cells = " | ".join(f"{x:.1f}" for x in (*parts, parts.sum()))
    return f"| `{name}` | {cells} | {updates:.3f} |"


def main() -> None:
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(CASES)
    lines = [
        "| case | act | env | store | update | together | updates per step |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        lines.append(profile(name, CASES[name]))
        print(lines[-1], flush=True)
    if not sys.argv[1:]:
        page = REPO / "docs/performance.md"
        marked = re.compile(r"(<!-- profile -->\n).*?(<!-- end profile -->)", re.DOTALL)
        table = "\n".join(lines)
        page.write_text(marked.sub(lambda m: m[1] + table + "\n" + m[2], page.read_text()))


if __name__ == "__main__":
    main()
