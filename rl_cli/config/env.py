"""TODO."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from rl_cli.config.schema import (
    Int,
    Scalar,
    schema,
)
from rl_cli.core.errors import BadInput


def _named(value: str) -> str:
    if value.strip() in ("", "???"):  # OmegaConf's mark of a value to be given
        raise ValueError("no env is named: env.id=<gymnasium id>, or a group, env=cartpole")
    return value


EnvId = Annotated[str, AfterValidator(_named)]


@schema
class EnvConfig:
    """One environment and what is done to its observations, rewards and clock."""

    id: EnvId = Field(description="gymnasium id; module:Id-v0 imports the module that registers it")
    kwargs: dict[str, Scalar | list[Scalar]] = Field(
        description="passed to the env: env.kwargs.enable_wind=true"
    )
    num_envs: Int = Field(ge=1, le=4096, description="copies stepped side by side")
    reseed_episodes: bool = Field(
        description="reset each training episode with a seed of its own, made of the run's seed, the "
        "copy and the episode's number; false: episodes go on in the copy's own stream"
    )
    max_episode_steps: Int | None = Field(
        ge=1,
        description="time limit of an episode in steps; null: the env's own (evaluation: at most 10000)",
    )
    normalize_obs: bool = Field(description="scale observations by their running mean and std")
    normalize_reward: bool = Field(
        description="scale rewards by the running std of the discounted return"
    )
    reward_gamma: float = Field(ge=0, le=1, description="discount of that return (the algorithm's)")
    clip_obs: float = Field(gt=0, description="bound of normalised observations")
    clip_reward: float = Field(gt=0, description="bound of normalised rewards")
    frame_skip: Int = Field(ge=1, le=1_000, description="times an action is repeated (frames)")
    frame_stack: Int = Field(ge=1, le=100, description="observations stacked into one")
    grayscale: bool = Field(description="pixel observations: one grey channel instead of three")
    resize: Int | None = Field(
        ge=36, le=1_000, description="pixel observations: side in pixels; null: as is"
    )
    sign_reward: bool = Field(
        description="learn from the sign of rewards, -1, 0 or 1; returns are told as they are"
    )
    atari: bool = Field(
        description="Atari games: of the last two of the frames skipped the brighter of each pixel"
    )
    noop_max: Int = Field(
        ge=0,
        le=1_000,
        description="Atari: at a reset a random number of no-ops up to this; 0: none",
    )
    fire_reset: bool = Field(
        description="Atari: press fire after a reset and a lost life, where the game has it"
    )
    episodic_life: bool = Field(
        description="Atari: in training, nothing is expected beyond the loss of a life"
    )
    success_at: float | None = Field(
        description="return that counts as success; null: the env's registered threshold"
    )

    def __post_init__(self) -> None:
        if self.sign_reward and self.normalize_reward:
            raise BadInput(
                "of sign_reward and normalize_reward one at a time",
                "env.sign_reward=true env.normalize_reward=true",
                "env.normalize_reward=false, or env.sign_reward=false",
            )
