"""Runs evaluation episodes with a fixed policy, on a separate env with separate seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core.seeding import globals_kept, seed_globals
from rl_cli.core.types import Episode
from rl_cli.envs.episode_info import InfoLog, success_of
from rl_cli.envs.episode_seeds import EpisodeSeeds
from rl_cli.envs.fast_classic_control import is_fast, make_fast
from rl_cli.envs.faults import close_env, env_fault
from rl_cli.envs.finite_checks import FiniteChecks, check_reward
from rl_cli.envs.make import make_env
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.spaces import (
    action_decoder,
    draws_images,
    fps_of,
    raw_dtype,
    spec_of,
    success_threshold,
)
from rl_cli.envs.wrappers import Env, without_time_limit

Policy = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]
"""predict(obs (1, *obs_shape), rng or None for greedy) -> actions (1, *action_shape)."""


class FrameSink(Protocol):
    def write(self, frame: Any) -> None: ...


DEFAULT_TIME_LIMIT = 10_000
"""Time limit of evaluation episodes, in steps, for envs without a time limit."""


class Evaluator:
    """A separate env that uses the observation statistics of training without updating them.

    Args:
        cfg: of the env.
        normalizer: statistics of the training envs; None: observations are not normalized.
        render_mode: of gymnasium; None: no rendering.

    """

    def __init__(
        self,
        cfg: EnvConfig,
        normalizer: ObservationNormalizer | None,
        render_mode: str | None = None,
    ) -> None:
        with globals_kept():
            seed_globals(0)  # the constructor of an env may draw
            env: Env = make_env(cfg, render_mode)
        self.seeds: EpisodeSeeds | None = EpisodeSeeds(env)
        self.success_at, self.infos = success_threshold(env, cfg), InfoLog(cfg.log_info, 1)
        spec = spec_of(env, cfg)._replace(num_envs=1)
        self.obs_dtype = raw_dtype(env, cfg, spec)
        self.normalizer, self.checks = normalizer, FiniteChecks(spec, self.obs_dtype)
        timed = env.spec is not None and env.spec.max_episode_steps is not None
        self.limit = math.inf if timed else float(DEFAULT_TIME_LIMIT)
        space = env.action_space
        self.fps, self.draws_images = fps_of(env, cfg), draws_images(env)
        self.env: Any = env
        if render_mode is None:  # without rendering: the fast version that training uses
            (inner,), limit = without_time_limit([env])
            self.env, self.limit = make_fast(inner), min(self.limit, limit)
            if self.env is not inner:  # fast envs draw from their own generator only
                self.seeds = None
        self.always_finite = getattr(self.env, "always_finite", False)
        self.decode = action_decoder(space, is_fast(self.env))

    def episode(
        self, policy: Policy, seed: int, greedy: bool, frames: FrameSink | None = None
    ) -> Episode:
        """One episode from reset(seed). Sampled actions draw from a stream of the same seed.

        What else the env draws from is seeded too; `globals_kept` protects the training envs.
        """
        rng = None if greedy else np.random.default_rng([seed, 0])
        if self.seeds is not None:
            self.seeds.start(seed)
        obs, _ = self.env.reset(seed=seed)
        total, length, over, info = 0.0, 0, False, dict[str, Any]()
        self.infos.take(0)  # of an episode that an error ended
        if frames is not None:
            frames.write(self.env.render())
        while not over:
            action = policy(self._batch(obs), rng)
            obs, reward, terminated, truncated, info = self.env.step(self.decode(action)[0])
            if not self.always_finite:
                check_reward(reward, lambda: "")  # `evaluate` adds the place
            total, length = total + float(reward), length + 1
            over = terminated or truncated or length >= self.limit
            if self.infos.keys:
                self.infos.add(0, self.infos.read(info))
            if frames is not None:
                frames.write(self.env.render())
        self.infos.end(0, success_of(info))
        return Episode(total, length, *self.infos.take(0))

    def _batch(self, obs: Any) -> np.ndarray:
        row = np.asarray(obs, self.obs_dtype)[None]
        if not self.always_finite:
            self.checks.check_obs(row, [0], lambda *_: "")
        return row if self.normalizer is None else self.normalizer(row)

    def close(self) -> str | None:
        """Close the env. -> why that failed; it raises nothing."""
        return close_env(self.env)


def evaluate(
    evaluator: Evaluator,
    policy: Policy,
    episodes: int,
    seed: int,
    greedy: bool,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Episode]:
    """`episodes` episodes, episode i from reset(seed + i); fewer if `interrupted` between two."""
    played: list[Episode] = []
    with globals_kept():
        while len(played) < episodes and not interrupted():
            episode_seed = seed + len(played)
            try:
                played.append(evaluator.episode(policy, episode_seed, greedy))
            except BaseException as error:
                raise env_fault(error, f"evaluation, seed={episode_seed}") from error
    return played
