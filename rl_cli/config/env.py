"""Keys of an environment and of its wrappers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from rl_cli.config.schema import Int, Scalar, TypeText, schema
from rl_cli.core.errors import BadInput


def _named(value: str) -> str:
    if value.strip() in ("", "???"):  # OmegaConf writes ??? for a missing value
        raise ValueError("no env is named: env.id=<gymnasium id>, or a group, env=cartpole")
    return value


EnvId = Annotated[str, AfterValidator(_named)]

SUM = "sum:"
"""Prefix of an entry of `env.log_info` whose values are summed over an episode."""


def _info_key(value: str) -> str:
    if not value.removeprefix(SUM).strip() or not value.isprintable() or len(value) > 100:
        raise ValueError(f"a key of info has 1 to 100 printable characters; got {value!r}")
    return value


WRAPPER = re.compile(r"[\w.]+:[A-Za-z_][\w.]*")
"""module:Class."""


_WRAPPERS = TypeText("[module:Class | {wrapper: module:Class, ...}, ...]")


def _wrapper(value: Any) -> Any:
    name, _ = parts_of_wrapper(value)
    if not isinstance(name, str) or not WRAPPER.fullmatch(name):
        raise ValueError(
            f"a wrapper is module:Class or {{wrapper: module:Class, ...}}, not {value}"
        )
    return value


def parts_of_wrapper(entry: str | Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """An entry of `env.wrappers` as its name and its arguments."""
    if isinstance(entry, str):
        return entry, {}
    return entry.get("wrapper"), {k: v for k, v in entry.items() if k != "wrapper"}


WrapperEntry = Annotated[str | dict[str, Scalar | list[Scalar]], AfterValidator(_wrapper)]


@schema
class EnvConfig:
    """One environment, its wrappers and its time limit."""

    id: EnvId = Field(description="gymnasium id; module:Id-v0 imports the module that registers it")
    kwargs: dict[str, Scalar | list[Scalar]] = Field(
        description="arguments of the env: env.kwargs.enable_wind=true"
    )
    wrappers: Annotated[list[WrapperEntry], _WRAPPERS] = Field(
        description="wrappers around the env, the first one innermost; the other keys of an entry are "
        "arguments of the wrapper"
    )
    num_envs: Int = Field(ge=1, le=4096, description="number of training envs")
    reseed_episodes: bool = Field(
        description="reset every training episode with its own seed, computed from the run's seed, "
        "the env's index and the episode number; false: only the first reset of an env is seeded"
    )
    max_episode_steps: Int | None = Field(
        ge=1,
        description="time limit of an episode in steps; null: the env's own (evaluation: at most 10000)",
    )
    normalize_obs: bool = Field(description="scale observations by their running mean and std")
    normalize_reward: bool = Field(
        description="scale rewards by the running std of the discounted return"
    )
    reward_gamma: float = Field(
        ge=0, le=1, description="discount of that return (default: algo.gamma)"
    )
    clip_obs: float = Field(gt=0, description="bound of normalized observations")
    clip_reward: float = Field(gt=0, description="bound of normalized rewards")
    frame_skip: Int = Field(ge=1, le=1_000, description="env frames per step; repeats the action")
    frame_stack: Int = Field(ge=1, le=100, description="consecutive observations stacked into one")
    grayscale: bool = Field(description="images: one gray channel instead of three")
    resize: Int | None = Field(
        ge=7,
        le=1_000,
        description="images: width and height in pixels; null: unchanged",
    )
    channels_first: bool = Field(
        description="observations (C, H, W) are images; false: flattened to a vector"
    )
    obs_keys: list[str] | None = Field(
        min_length=1,
        description="parts of Dict or Tuple observations that are used: [image,state.vel], "
        'by index of a Tuple: ["0"]; null: all that a network can read',
    )
    flatten: bool = Field(
        description="flatten observations to one vector, except images of uint8 that are the whole "
        "observation and have 36 pixels a side; false: images of any kind stay images",
    )
    scale_actions: bool = Field(
        description="map actions from [-1, 1] to the bounds of the action space, a finite Box"
    )
    sign_reward: bool = Field(
        description="learn from the sign of rewards, -1, 0 or 1; reported returns are unchanged"
    )
    atari: bool = Field(description="Atari: pixel-wise maximum of the last two skipped frames")
    noop_max: Int = Field(
        ge=0,
        le=1_000,
        description="Atari: random number of no-op actions after a reset, at most this; 0: none",
    )
    fire_reset: bool = Field(
        description="Atari: press FIRE after a reset and a lost life, in games that have the action"
    )
    episodic_life: bool = Field(
        description="Atari: in training, the loss of a life counts as terminated"
    )
    log_info: list[Annotated[str, AfterValidator(_info_key)]] = Field(
        description="keys of info that are logged, of values inside mappings as rewards.speed: the last "
        "value in an episode, or with sum:<key> the sum over the episode"
    )
    success_at: float | None = Field(
        description="return that counts as success; null: the env's registered threshold. Not used if "
        "info has is_success or success"
    )

    def __post_init__(self) -> None:
        if self.sign_reward and self.normalize_reward:
            raise BadInput(
                "sign_reward and normalize_reward exclude each other",
                "env.sign_reward=true env.normalize_reward=true",
                "env.normalize_reward=false, or env.sign_reward=false",
            )
