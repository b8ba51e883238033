"""A run without its services: what the trainer's loop does between two of them, for measurements."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.algos.factory import make_algorithm, settings_of, worth_compiling
from rl_cli.collectors import native_envs
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import build
from rl_cli.core.seeding import env_seeds
from rl_cli.core.types import Metrics
from rl_cli.engine import forward
from rl_cli.engine.compiler import StepCompiler, source_digest
from rl_cli.envs.vector import VectorEnv
from rl_cli.tracking.logger import Logger

REPO = Path(__file__).resolve().parents[1]


class Loop:
    """Args: words: of the command line; budget: of the run it pretends to be."""

    def __init__(self, words: list[str], budget: int) -> None:
        with initialize_config_dir(str(REPO / "conf"), version_base=None):
            composed = compose("config", [*words, f"total_timesteps={budget}"])
            config: Any = OmegaConf.to_container(composed, resolve=True)
        algo_cls = algos.load(config["algo"]["name"])
        algo_cfg, cfg = build(algo_cls.Config, config["algo"], "algo"), build(RunConfig, config)
        self.envs = VectorEnv(cfg.env, env_seeds(0, cfg.env.num_envs))
        self.algo = make_algorithm(algo_cls, algo_cfg, self.envs.spec, budget, 0, "cpu")
        self.compiles = worth_compiling(cfg.compile, self.algo)
        if self.compiles:
            source = source_digest(sys.modules[algo_cls.__module__])
            identity = repr((algo_cfg, self.envs.spec, source))
            compiler = StepCompiler(identity, print, settings_of(algo_cfg))
            self.algo.learner.compile_with(compiler, forward.load())
        self.stretch = native_envs.prepared(self.algo, self.envs)
        self.logger = Logger(Path(tempfile.mkdtemp()), tensorboard=False, hparams={})
        self.envs.reset()
        self.at = 0

    def advance(self, until: int) -> Metrics | None:
        """Act, step, remember, as trainer.Trainer. -> of what was learned on the way."""
        if self.stretch is not None and (taken := self.in_c(until)):
            self.at += taken
            return self.stretch.learned
        if self.stretch is not None:
            self.stretch.settle()
        action = self.algo.act(self.envs.obs, self.at)
        transition, _ = self.envs.step(action)
        self.algo.observe(transition)
        self.at += len(action)
        return None

    def in_c(self, until: int) -> int:
        assert self.stretch is not None
        return self.stretch(self.at, until)

    def turn(self, steps: int) -> float:
        """Take some steps. -> microseconds of processor time of each; other processes' are left out."""
        begun, until = time.thread_time(), self.at + steps
        while self.at < until:
            learned = self.advance(until)
            for metrics in (learned, self.algo.update(self.at)):
                if metrics is not None:
                    self.logger.add(metrics)
            if self.envs.episodes:
                self.logger.add_episodes(self.envs.take_episodes())
        self.logger.row({})
        return (time.thread_time() - begun) / steps * 1e6
