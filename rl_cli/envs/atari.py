"""Atari preprocessing (Mnih et al. 2015) and the handling of lives.

gymnasium's `AtariPreprocessing` skips frames, takes the maximum of the last two, converts to grayscale,
resizes to 84x84 and takes a random number of no-ops after a reset. `Lives` adds what concerns lives:
with `episodic_life` the loss of a life terminates the return that is learned from, but not the
episode. The env is not reset and episode statistics are those of whole games; a resumed run replays
whole games.

Two protocols are in use, whose scores are not comparable: sticky actions (Machado et al. 2018,
`conf/env/_atari.yaml`) and random no-ops (`NoFrameskip` envs, `conf/env/_noframeskip.yaml`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import gymnasium as gym

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput

Env = gym.Env[Any, Any]

FIRE = 1
"""Index of the FIRE action, in games that have it."""

LIFE_LOST = "life_lost"
"""Key of `info`: true if a life was lost in this step and the episode continues."""


class Lives(gym.Wrapper[Any, Any, Any, Any]):
    """Reports the loss of a life in `info["life_lost"]` and presses FIRE where the game waits for it.

    Args:
        env: an Atari game.
        fire: press FIRE after a reset and after the loss of a life, in games that have the action.
        report: set `info["life_lost"]`.

    """

    def __init__(self, env: Env, fire: bool, report: bool) -> None:
        super().__init__(env)
        self.game = cast(Any, env.unwrapped)
        has_fire = self.game.get_action_meanings()[FIRE : FIRE + 1] == ["FIRE"]
        self.fire, self.report, self.lives = fire and has_fire, report, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        if self.fire:
            obs, _, _, _, info = self.env.step(FIRE)
        self.lives = self.game.ale.lives()
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        total, before, self.lives = float(reward), self.lives, self.game.ale.lives()
        if self.lives >= before or terminated or truncated:
            return obs, total, terminated, truncated, info
        if self.fire:
            obs, reward, terminated, truncated, info = self.env.step(FIRE)
            total, self.lives = total + float(reward), self.game.ale.lives()
        if self.report and not terminated:
            info = {**info, LIFE_LOST: True}
        return obs, total, terminated, truncated, info


def preprocess(env: Env, cfg: EnvConfig, training: bool) -> tuple[Env, EnvConfig]:
    """Wrap an Atari game; other envs are returned as they are.

    Args:
        env: as made by gymnasium.
        cfg: configuration of the env.
        training: report lost lives if `episodic_life` is set; evaluation ignores them.

    Returns:
        The wrapped env, and `cfg` without the preprocessing that is done.

    Raises:
        BadInput: `atari` is set and the env is not an Atari game or skips frames itself; an Atari
            key is set and `atari` is not.

    """
    if not cfg.atari:
        _refuse_atari_keys(cfg)
        return env, cfg
    if not hasattr(env.unwrapped, "ale"):
        raise BadInput(f"{cfg.id} is not an Atari game", "env.atari=true", "leave env.atari out")
    if getattr(env.unwrapped, "_frameskip", 1) != 1:
        raise BadInput(
            "the game skips frames itself; the maximum of the last two frames cannot be taken",
            f"env.kwargs.frameskip={cfg.kwargs.get('frameskip', 'its default')}",
            "env.kwargs.frameskip=1",
        )
    size = (160, 210) if cfg.resize is None else cfg.resize
    env = gym.wrappers.AtariPreprocessing(
        env, cfg.noop_max, cfg.frame_skip, size, grayscale_obs=cfg.grayscale
    )
    report_lives = training and cfg.episodic_life
    if cfg.fire_reset or report_lives:
        env = Lives(env, cfg.fire_reset, report_lives)
    return env, dataclasses.replace(cfg, frame_skip=1, grayscale=False, resize=None)


def _refuse_atari_keys(cfg: EnvConfig) -> None:
    for key in ("noop_max", "fire_reset", "episodic_life"):
        if value := getattr(cfg, key):
            where = f"env.{key}={str(value).lower()}"
            raise BadInput(f"env.{key} applies to Atari games only", where, "env.atari=true")
