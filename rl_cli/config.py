"""The schema of a run: every key's type, range and meaning. The numbers live in `conf/`.

An algorithm's own schema stands in its file under `algos/`, made with the same `@schema`.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from rl_cli.errors import BadInput
from rl_cli.schema import SEE_HELP, Int, Key, Scalar, Size, build, keys, schema, suggest, written

__all__ = [
    "SEE_HELP", "AlgoConfig", "CheckpointConfig", "EnvConfig", "EvalConfig", "Folder", "Idle", "Int", "Jobs", "Key",
    "LogConfig", "PlayConfig", "ReplayConfig", "RunConfig", "StopConfig", "VideoConfig",
    "build", "keys", "schema", "suggest",
]  # fmt: skip


def _path(value: str) -> str:
    """A path that some file system could have; what is there is seen to when it is used."""
    if not value.strip():
        raise ValueError("no folder is named")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise ValueError("a path has no control characters and is written in UTF-8")
    if len(value) > 2_000 or any(len(part.encode()) > 200 for part in value.split("/")):
        raise ValueError("this path is too long")
    return value


def _named(value: str) -> str:
    if value.strip() in ("", "???"):  # OmegaConf's mark of a value to be given
        raise ValueError("no env is named: env.id=<gymnasium id>, or a group, env=cartpole")
    return value


Idle = list[tuple[bool, tuple[str, ...], tuple[str, ...]]]
"""Whether it is so, the keys that then do nothing, and the keys that make it so."""
Folder = Annotated[str, AfterValidator(_path)]
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


@schema
class EvalConfig:
    """Evaluation during training, on an env and with seeds of its own."""

    every: Int = Field(ge=0, description="env steps between evaluations; 0: only at the end")
    every_episodes: Int = Field(
        ge=0, description="training episodes between evaluations; 0: none on their account"
    )
    episodes: Int = Field(ge=1, description="episodes of one evaluation")
    seed: Int = Field(ge=0, description="episode i is reset with seed eval.seed + i")
    greedy: bool = Field(description="most likely action; false: sampled from the policy")


@schema
class CheckpointConfig:
    """What is kept of the run for replay and for going on."""

    every: Int = Field(ge=0, description="env steps between checkpoints; 0: only at the end")
    keep: Int = Field(ge=1, description="newest checkpoints kept, beside the best")


@schema
class VideoConfig:
    """Films of evaluation episodes, and of training episodes as they were."""

    every: Int = Field(ge=0, description="env steps between recordings; 0: only at the end")
    episodes: Int = Field(
        ge=0, description="evaluation episodes of one recording; 0: none are filmed"
    )
    every_episodes: Int = Field(
        ge=0, description="film every so manyth training episode, exploration and all; 0: none"
    )
    beside: bool = Field(
        description="by a forked copy of the run; false: the run waits, for envs that bear no fork"
    )


@schema
class LogConfig:
    """Curves."""

    every: Int = Field(
        ge=0,
        description="env steps between rows of metrics.csv and TensorBoard; 0: only at the end",
    )
    every_episodes: Int = Field(
        ge=0, description="training episodes between rows; 0: none on their account"
    )
    tensorboard: bool = Field(description="write TensorBoard event files")
    window: Int = Field(
        ge=1, description="training episodes that rollout/running_return is the mean of"
    )


@schema
class StopConfig:
    """Reasons to stop before the budget is spent."""

    eval_return: float | None = Field(
        description="stop when the mean return of the last stop.eval_window evaluations reaches "
        "this; null: never"
    )
    eval_window: Int = Field(ge=1, description="evaluations that mean is taken over, all of them")
    train_return: float | None = Field(
        description="stop when the mean return of the last stop.window training episodes "
        "reaches this; null: never"
    )
    window: Int = Field(ge=1, description="training episodes that mean is taken over")


@schema
class Jobs:
    """What a sweep has to know before its first run."""

    jobs: Int = Field(ge=1, le=256, description="runs of a sweep at a time, each a process")


LEAST_TIMEOUT = 0.1
"""Seconds. Much less, and looking whether it is over would be all that a run does."""


@schema
class RunConfig(Jobs):
    """Everything one run needs to know, but for the algorithm's own keys."""

    seed: Int = Field(ge=0, lt=2**32, description="of weights, exploration, replay and envs")
    total_timesteps: Int = Field(ge=1, description="budget in env steps, over all envs")
    total_episodes: Int | None = Field(
        ge=1,
        description="budget in training episodes, over all envs; whichever is spent first ends the "
        "run; null: steps alone",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where the networks live; auto: cuda for pixels where there is one, else cpu"
    )
    threads: Int = Field(
        ge=1, le=256, description="CPU threads of torch; one is fastest for small nets"
    )
    compile: bool | Literal["auto"] = Field(
        description="the learning step as machine code, made once by a C++ compiler and kept in "
        "~/.cache/rl-cli; auto: on the CPU, for small nets, where the run has many updates"
    )
    workers: Int = Field(
        ge=0,
        le=256,
        description="processes that step the envs; 0: the run's own, best for fast envs",
    )
    step_timeout: float = Field(
        ge=0,
        le=1_000_000,
        description="seconds after which a step of an env counts as hung; 0: never",
    )
    run_dir: Folder | None = Field(description="folder of the run; null: runs/<algo>/<env>/<stamp>")
    resume: Folder | None = Field(
        description="folder of an interrupted run to go on with; auto: run_dir, if it holds a run"
    )
    quiet: bool = Field(description="print nothing but warnings and errors")
    env: EnvConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    video: VideoConfig
    log: LogConfig
    stop: StopConfig
    algo: dict[str, Any] = Field(description="the algorithm's own keys")

    def __post_init__(self) -> None:
        if self.stop.eval_return is not None and not (self.eval.every or self.eval.every_episodes):
            raise BadInput(
                "stop.eval_return is asked at evaluations, and there are none before the end",
                f"stop.eval_return={self.stop.eval_return:g} eval.every=0",
                "set eval.every or eval.every_episodes: eval.every=10_000",
            )
        if 0 < self.step_timeout < LEAST_TIMEOUT:
            raise BadInput(
                f"in less than {LEAST_TIMEOUT:g} s an env need not have answered",
                f"step_timeout={self.step_timeout:g}",
                f"step_timeout=0 for never, or {LEAST_TIMEOUT:g} and more: step_timeout=10",
            )
        workers, envs = self.workers, self.env.num_envs
        if workers > envs:
            raise BadInput(
                "there are more workers than envs to share out among them",
                f"workers={workers} env.num_envs={envs}",
                f"workers={envs}, or env.num_envs={workers}",
            )


@schema
class ReplayConfig:
    """What rl-eval is asked to do."""

    run: Folder | None = Field(description="run folder, or one checkpoint folder in it")
    checkpoint: Int | str = Field(description="best, latest, or a step number")
    episodes: Int = Field(ge=1, description="episodes to play")
    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    greedy: bool = Field(description="most likely action; false: sampled from the policy")
    video: bool = Field(description="record the first video_episodes episodes as mp4")
    video_episodes: Int = Field(ge=1, description="episodes recorded with video=true")
    render: Literal["none", "human"] = Field(description="human: open a window")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where the networks live")
    output: Folder | None = Field(
        description="folder for evaluation.json and videos; null: by name"
    )
    env: dict[str, Any] = Field(
        description="env keys that replace the run's own, e.g. env.kwargs.*"
    )


@schema
class PlayConfig:
    """What rl-play is asked to do."""

    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    episodes: Int = Field(ge=0, description="episodes to play; 0: until the window is closed")
    fps: float | None = Field(gt=0, description="steps a second; null: as the env would have it")
    record: bool = Field(description="write each episode as mp4, and all transitions as a file")
    output: Folder | None = Field(description="folder of what is recorded; null: runs/play/<env>/…")
    env: EnvConfig


@schema
class AlgoConfig:
    """Keys that every algorithm has."""

    name: str = Field(description="the algorithm's file under rl_cli/algos/")
    gamma: float = Field(ge=0, le=1, description="discount factor")
    learning_rate: float = Field(gt=0, le=10, description="step size of Adam")
    anneal_learning_rate: bool = Field(description="decay the step size linearly to 0")
    adam_eps: float = Field(gt=0, lt=1, description="epsilon of Adam")
    max_grad_norm: float | None = Field(gt=0, description="gradient norm is clipped to this")
    hidden_sizes: tuple[Size, ...] = Field(description="units of each hidden layer")
    activation: Literal["relu", "tanh"] = Field(description="of the hidden layers")

    def told(self, *names: str) -> str:
        """Some keys with their values, as they would be typed."""
        return " ".join(f"algo.{name}={written(getattr(self, name))}" for name in names)

    def to_replay(self) -> Self:
        """The same policy, with as little memory for learning as there can be."""
        return self

    def idle(self) -> Idle:
        """Keys that do nothing while others are as they are; whoever types one is told."""
        return []

    def without_effect(self) -> dict[str, str]:
        """Keys of `idle` that now do nothing -> those others, with their values."""
        idle = [(keys, others) for is_so, keys, others in self.idle() if is_so]
        return {f"algo.{key}": self.told(*others) for keys, others in idle for key in keys}

    @property
    def title(self) -> str:
        """What a person would call it: the name, or that of a known set of switches."""
        return self.name
