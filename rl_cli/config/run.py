"""The schema of a run: every key's type, range and meaning. The numbers live in `conf/`.

An algorithm's own schema stands in its file under `algos/`, made with the same `@schema`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import Folder, Int, Scalar, schema
from rl_cli.core.errors import BadInput


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
    sinks: dict[str, dict[str, Scalar]] = Field(
        description="additional destinations of rows, by name, with their settings: "
        "log.sinks.<name>.<setting>=<value>"
    )
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
    callbacks: dict[str, dict[str, Scalar]] = Field(
        description="additional callbacks, by name, with their settings: "
        "callbacks.<name>.<setting>=<value>"
    )
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
