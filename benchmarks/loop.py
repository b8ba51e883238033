"""The training loop without evaluation, checkpoints and videos, for measurements."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.algos.factory import make_algorithm, settings_of, worth_compiling
from rl_cli.collectors.base import Collected
from rl_cli.collectors.factory import make_collector
from rl_cli.core.seeding import env_seeds
from rl_cli.engine import forward
from rl_cli.engine.compiler import StepCompiler, source_digest
from rl_cli.envs.vector import VectorEnv
from rl_cli.tracking.logger import Logger

REPO = Path(__file__).resolve().parents[1]


class Loop:
    """Args: words: command line; budget: total_timesteps, for schedules and compile=auto."""

    def __init__(self, words: list[str], budget: int) -> None:
        with initialize_config_dir(str(REPO / "conf"), version_base=None):
            composed = compose("config", [*words, f"total_timesteps={budget}"])
            config: Any = OmegaConf.to_container(composed, resolve=True)
        cfg = algos.build_run_config(config)
        algo_cls, algo_cfg = algos.load(cfg.algo.name), cfg.algo
        self.envs = VectorEnv(cfg.env, env_seeds(0, cfg.env.num_envs))
        self.algo = make_algorithm(algo_cls, algo_cfg, self.envs.spec, budget, 0, "cpu")
        self.compiles = worth_compiling(cfg.compile, self.algo)
        if self.compiles:
            source = source_digest(sys.modules[algo_cls.__module__])
            identity = repr((algo_cfg, self.envs.spec, source))
            compiler = StepCompiler(identity, print, settings_of(algo_cfg))
            self.algo.learner.compile_with(compiler, forward.load())
        self.collector = make_collector(self.algo, self.envs, budget, lambda: False)
        self.logger = Logger([])
        self.envs.reset()
        self.at = 0

    def collect(self, until: int) -> Collected:
        return self.collector.collect(self.at, until)

    def turn(self, steps: int) -> float:
        """Take `steps` env steps. Returns microseconds of processor time per step."""
        start, until = time.thread_time(), self.at + steps
        while self.at < until:
            collected = self.collect(until)
            self.at += collected.steps
            for metrics in (collected.metrics, self.algo.update(self.at)):
                if metrics is not None:
                    self.logger.add(metrics)
            if self.envs.episodes:
                self.logger.add_episodes(self.envs.take_episodes())
        self.logger.row({})
        return (time.thread_time() - start) / steps * 1e6
