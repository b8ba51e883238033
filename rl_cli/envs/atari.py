"""Atari games, prepared as the results that are compared with were (DQN: Mnih et al. 2015).

gymnasium's `AtariPreprocessing` does the pixels: frames skipped, of the last two the brighter of each
pixel, grey, 84x84, and a random number of no-ops at reset. Here stand lives. What ends with one is
the return that is learned from, not the game: it is neither reset nor counted as an episode, so that
returns are those of whole games, and a resumed run replays whole games.

Two recipes are in use, never to be compared with each other: sticky actions (Machado et al. 2018) and
the older one of random no-ops (`NoFrameskip`). `conf/env/_atari.yaml` and `_noframeskip.yaml` are they.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import gymnasium as gym

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import LIFE

Env = gym.Env[Any, Any]

FIRE = 1


class Lives(gym.Wrapper[Any, Any, Any, Any]):
    """Says when a life is lost, and goes on with the next.

    Args:
        env: an Atari game.
        fire: press fire where the game waits for it, after a reset and after a life.
        ends: answer LIFE in place of False for `terminated` when a life is lost.

    """

    def __init__(self, env: Env, fire: bool, ends: bool) -> None:
        super().__init__(env)
        self.game = cast(Any, env.unwrapped)
        waits = self.game.get_action_meanings()[FIRE : FIRE + 1] == ["FIRE"]
        self.fire, self.ends, self.lives = fire and waits, ends, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        if self.fire:
            obs, _, _, _, info = self.env.step(FIRE)
        self.lives = self.game.ale.lives()
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, Any, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        total, before, self.lives = float(reward), self.lives, self.game.ale.lives()
        if self.lives >= before or terminated or truncated:
            return obs, total, terminated, truncated, info
        if self.fire:
            obs, reward, terminated, truncated, info = self.env.step(FIRE)
            total, self.lives = total + float(reward), self.game.ale.lives()
        return obs, total, LIFE if self.ends and not terminated else terminated, truncated, info


def prepared(env: Env, cfg: EnvConfig, training: bool) -> tuple[Env, EnvConfig]:
    """The game with its preprocessing, and what is left to be done of `cfg`.

    Args:
        env: as gymnasium makes it.
        cfg: of the env.
        training: the end of a life is the end of a return.

    Raises:
        BadInput: it is no Atari game, or skips frames by itself.

    """
    if not cfg.atari:
        _refuse_keys(cfg)
        return env, cfg
    if not hasattr(env.unwrapped, "ale"):
        raise BadInput(f"{cfg.id} is no Atari game", "env.atari=true", "leave env.atari out")
    if getattr(env.unwrapped, "_frameskip", 1) != 1:
        raise BadInput(
            "the game skips frames by itself, before the brighter of two can be taken",
            f"env.kwargs.frameskip={cfg.kwargs.get('frameskip', 'its own')}",
            "env.kwargs.frameskip=1",
        )
    side = (160, 210) if cfg.resize is None else cfg.resize
    env = gym.wrappers.AtariPreprocessing(
        env, cfg.noop_max, cfg.frame_skip, side, grayscale_obs=cfg.grayscale
    )
    if cfg.fire_reset or (training and cfg.episodic_life):
        env = Lives(env, cfg.fire_reset, training and cfg.episodic_life)
    return env, dataclasses.replace(cfg, frame_skip=1, grayscale=False, resize=None)


def _refuse_keys(cfg: EnvConfig) -> None:
    for key in ("noop_max", "fire_reset", "episodic_life"):
        if value := getattr(cfg, key):
            told = str(value).lower()
            raise BadInput("only Atari games have this", f"env.{key}={told}", "env.atari=true")
