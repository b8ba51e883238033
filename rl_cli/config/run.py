"""Keys of a training run. Their values are in `conf/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import Device, Folder, Gpu, Int, Scalar, TypeText, build, schema
from rl_cli.core.errors import BadInput


@schema
class EvalConfig:
    """Evaluation during training, on a separate env with separate seeds."""

    every: Int = Field(ge=0, description="env steps between evaluations; 0: only at the end")
    every_episodes: Int = Field(
        ge=0, description="training episodes between evaluations; 0: intervals in steps only"
    )
    episodes: Int = Field(ge=1, description="episodes per evaluation")
    seed: Int = Field(ge=0, description="episode i is reset with seed eval.seed + i")
    greedy: bool = Field(description="most likely action; false: action sampled from the policy")


@schema
class CheckpointConfig:
    """Checkpoints, for evaluation and resuming."""

    every: Int = Field(ge=0, description="env steps between checkpoints; 0: only at the end")
    keep: Int = Field(ge=1, description="latest checkpoints to keep, in addition to the best")
    keep_buffer: bool = Field(
        description="false: when the run completes, checkpoints with a replay buffer are reduced to "
        "the policy; the run can be evaluated, but not continued"
    )


@schema
class VideoConfig:
    """Videos of evaluation episodes and of training episodes."""

    every: Int = Field(ge=0, description="env steps between recordings; 0: only at the end")
    episodes: Int = Field(ge=0, description="evaluation episodes per recording; 0: none")
    every_episodes: Int = Field(
        ge=0,
        description="record every n-th training episode, including its exploration; 0: none",
    )
    background: bool = Field(
        description="render in a child process; set to false for environments that are not fork-safe"
    )


@schema
class LogConfig:
    """Training curves."""

    every: Int = Field(
        ge=0,
        description="env steps between rows of metrics.csv and TensorBoard; 0: only at the end",
    )
    every_episodes: Int = Field(
        ge=0, description="training episodes between rows; 0: intervals in steps only"
    )
    tensorboard: bool = Field(description="write TensorBoard event files")
    wandb: bool = Field(description="send rows and videos to Weights & Biases; extra wandb")
    trackio: bool = Field(description="send rows and videos to Trackio; extra trackio")
    mlflow: bool = Field(description="send rows and videos to MLflow; extra mlflow")
    project: str = Field(
        min_length=1,
        max_length=128,
        description="project of wandb and trackio, experiment of mlflow",
    )
    sinks: dict[str, dict[str, Scalar]] = Field(
        description="additional destinations of rows, by name, with their settings: "
        "log.sinks.<name>.<setting>=<value>"
    )
    window: Int = Field(ge=1, description="training episodes averaged in rollout/running_return")


@schema
class StopConfig:
    """Early stopping."""

    eval_return: float | None = Field(
        description="stop when the mean return of the last stop.eval_window evaluations reaches "
        "this value; null: never"
    )
    eval_window: Int = Field(ge=1, description="evaluations averaged for stop.eval_return")
    train_return: float | None = Field(
        description="stop when the mean return of the last stop.window training episodes "
        "reaches this value; null: never"
    )
    window: Int = Field(ge=1, description="training episodes averaged for stop.train_return")


Threads = Annotated[
    Annotated[Int, Field(ge=1, le=256)] | Literal["auto"], TypeText("int in [1, 256] | auto")
]

MAX_WORKERS = 256

Workers = Annotated[
    Annotated[Int, Field(ge=0, le=MAX_WORKERS)] | Literal["auto"],
    TypeText("int in [0, 256] | auto"),
]

Display = Literal["auto", "live", "plain", "none"]
"""Where a run is shown; see `tracking.display`."""

MIN_STEP_TIMEOUT = 0.1
"""Seconds. The watchdog's checks would slow a run down with a much smaller timeout."""


@schema
class RunSettings:
    """Every key of a run except those of its algorithm."""

    seed: Int = Field(ge=0, lt=2**32, description="seed of weights, exploration, replay and envs")
    total_timesteps: Int = Field(ge=1, description="budget in env steps, summed over all envs")
    total_episodes: Int | None = Field(
        ge=1,
        description="budget in training episodes, summed over all envs; the run ends when either "
        "budget is spent; null: no limit",
    )
    device: Device = Field(
        description="device of the networks; auto: cuda for pixels if available, else cpu"
    )
    threads: Threads = Field(
        description="CPU threads of torch; 1 is fastest for small networks; auto: the number of "
        "processors, divided by the jobs of a sweep that run at a time"
    )
    compile: bool | Literal["auto"] = Field(
        description="compile the update step with a C++ compiler, cached in ~/.cache/rl-cli; "
        "auto: on the CPU, for small networks, if the run has many updates"
    )
    workers: Workers = Field(
        description="processes that step the envs, for envs whose step takes milliseconds; results "
        "are the same. 0: no other process; auto: chosen by the time that a step takes"
    )
    step_timeout: float = Field(
        ge=0,
        le=1_000_000,
        description="seconds after which an env step counts as hung; 0: never",
    )
    run_dir: Folder | None = Field(description="folder of the run; null: runs/<algo>/<env>/<stamp>")
    resume: Folder | None = Field(
        description="folder of an interrupted run to resume; auto: run_dir, if it contains a run"
    )
    display: Display = Field(
        description="live: a view that is redrawn; plain: lines of text; none: warnings and errors "
        "only, and the tables at the end of a sweep; auto: live on a terminal, plain in pipes, notebooks and CI"
    )
    quiet: bool = Field(description="true: the same as display=none")
    jobs: Int = Field(
        ge=1, le=256, description="runs of a sweep at the same time, each in its own process"
    )
    retries: Int = Field(
        ge=0,
        le=100,
        description="how often a failed run of a sweep is started again, from its last checkpoint",
    )
    gpus: tuple[Gpu, ...] = Field(
        description="GPUs of a sweep, gpus=0,1; each run sees one of them, and at least one run per "
        "GPU runs at a time; empty: every run sees all GPUs"
    )
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

    def __post_init__(self) -> None:
        if self.stop.eval_return is not None and not (self.eval.every or self.eval.every_episodes):
            raise BadInput(
                "stop.eval_return needs evaluations during training",
                f"stop.eval_return={self.stop.eval_return:g} eval.every=0",
                "set eval.every or eval.every_episodes: eval.every=10_000",
            )
        if 0 < self.step_timeout < MIN_STEP_TIMEOUT:
            raise BadInput(
                f"step_timeout is less than {MIN_STEP_TIMEOUT:g} s",
                f"step_timeout={self.step_timeout:g}",
                f"step_timeout=0 for never, or at least {MIN_STEP_TIMEOUT:g}: step_timeout=10",
            )
        if len(set(self.gpus)) < len(self.gpus):
            raise BadInput(
                "a GPU is named twice",
                f"gpus={','.join(self.gpus)}",
                "jobs=<runs at a time> puts several runs on one GPU: gpus=0,1 jobs=4",
            )
        workers, envs = self.workers, self.env.num_envs
        if workers != "auto" and workers > envs:
            raise BadInput(
                "there are more workers than envs",
                f"workers={workers} env.num_envs={envs}",
                f"workers={envs}, or env.num_envs={workers}",
            )

    @property
    def shown(self) -> Display:
        """`display`, given `quiet`."""
        return "none" if self.quiet else self.display


@schema
class RunConfig(RunSettings):
    """The whole configuration of a run; `algo` is an instance of the algorithm's own config class.

    Made by `rl_cli.algos.build_run_config`, once for each run.
    """

    algo: AlgoConfig


def build_run(values: Mapping[str, Any], algo_config: type[AlgoConfig]) -> RunConfig:
    """Validate the composed values of a run.

    The algorithm's keys come first: interpolations such as `env.reward_gamma` copy their errors.

    Args:
        values: the composed configuration, plain values, `algo` included.
        algo_config: config class of the algorithm that `values["algo"]["name"]` names.

    Raises:
        BadInput: names the key, its value, and the nearest key or the allowed range.

    """
    algo = build(algo_config, values["algo"], "algo")
    settings = build(RunSettings, {key: value for key, value in values.items() if key != "algo"})
    return RunConfig(**vars(settings), algo=algo)
