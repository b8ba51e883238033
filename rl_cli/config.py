"""The schema of a run: every key's type, range and meaning. The numbers live in `conf/`.

An algorithm's own schema stands in its file under `algos/`, made with the same `@schema`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from rl_cli.errors import BadInput, did_you_mean

T = TypeVar("T")


def _integral(value: object) -> object:
    """1e6 is a whole number however it is written; 1.5 stays what it is and is refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_integral)]
Size = Annotated[int, BeforeValidator(_integral), Field(ge=1)]
Scalar = bool | int | float | str | None


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def schema(cls: type[T]) -> type[T]:
    """A frozen dataclass whose values are checked: no unknown key, no silent conversion, no NaN.

    A field without a default is one whose number the YAML must give.
    """
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    checked = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=strict)(cls)
    return cast(type[T], checked)


@schema
class EnvConfig:
    """One environment and what is done to its observations, rewards and clock."""

    id: str = Field(description="gymnasium id; module:Id-v0 imports the module that registers it")
    kwargs: dict[str, Scalar | list[Scalar]] = Field(
        description="passed to the env: env.kwargs.enable_wind=true"
    )
    num_envs: Int = Field(ge=1, le=4096, description="copies stepped side by side")
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
    frame_skip: Int = Field(ge=1, description="times an action is repeated (frames)")
    frame_stack: Int = Field(ge=1, description="observations stacked into one")
    grayscale: bool = Field(description="pixel observations: one grey channel instead of three")
    resize: Int | None = Field(ge=36, description="pixel observations: side in pixels; null: as is")
    success_at: float | None = Field(
        description="return that counts as success; null: the env's registered threshold"
    )


@schema
class EvalConfig:
    """Evaluation during training, on an env and with seeds of its own."""

    every: Int = Field(ge=0, description="env steps between evaluations; 0: only at the end")
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
    """Recordings of evaluation episodes."""

    every: Int = Field(ge=0, description="env steps between recordings; 0: only at the end")
    episodes: Int = Field(ge=0, description="episodes of one recording; 0: no videos at all")


@schema
class LogConfig:
    """Curves."""

    every: Int = Field(ge=1, description="env steps between rows of metrics.csv and TensorBoard")
    tensorboard: bool = Field(description="write TensorBoard event files")


@schema
class StopConfig:
    """Reasons to stop before the budget is spent."""

    eval_return: float | None = Field(
        description="stop when an evaluation's mean return reaches this; null: never"
    )
    train_return: float | None = Field(
        description="stop when the mean return of the last stop.window training episodes "
        "reaches this; null: never"
    )
    window: Int = Field(ge=1, description="training episodes that mean is taken over")


@schema
class Jobs:
    """What a sweep has to know before its first run."""

    jobs: Int = Field(ge=1, le=256, description="runs of a sweep at a time, each a process")


@schema
class RunConfig(Jobs):
    """Everything one run needs to know, but for the algorithm's own keys."""

    seed: Int = Field(ge=0, lt=2**32, description="of weights, exploration, replay and envs")
    total_timesteps: Int = Field(ge=1, description="budget in env steps, over all envs")
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
        ge=0, description="seconds after which a step of an env counts as hung; 0: never"
    )
    run_dir: str | None = Field(description="folder of the run; null: runs/<algo>/<env>/<stamp>")
    resume: str | None = Field(
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
        if self.stop.eval_return is not None and self.eval.every == 0:
            raise ValueError("stop.eval_return is asked at evaluations: set eval.every")
        if self.workers > self.env.num_envs:
            raise ValueError(
                f"workers={self.workers} is more than env.num_envs={self.env.num_envs}"
            )


@schema
class ReplayConfig:
    """What rl-eval is asked to do."""

    run: str | None = Field(description="run folder, or one checkpoint folder in it")
    checkpoint: Int | str = Field(description="best, latest, or a step number")
    episodes: Int = Field(ge=1, description="episodes to play")
    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    greedy: bool = Field(description="most likely action; false: sampled from the policy")
    video: bool = Field(description="record the first video_episodes episodes as mp4")
    video_episodes: Int = Field(ge=1, description="episodes recorded with video=true")
    render: Literal["none", "human"] = Field(description="human: open a window")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where the networks live")
    output: str | None = Field(description="folder for evaluation.json and videos; null: by name")
    env: dict[str, Any] = Field(
        description="env keys that replace the run's own, e.g. env.kwargs.*"
    )


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


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Check `values` against a schema and freeze them into it.

    Raises:
        BadInput: naming the key, its value, and the nearest key or the allowed range.

    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values))
    except ValidationError as error:
        raise _explain(cls, error, prefix) from None
    except TypeError as error:  # a value that no YAML scalar can be
        raise BadInput(str(error), prefix) from None


def _explain(cls: type, error: ValidationError, prefix: str) -> BadInput:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if str(part).isidentifier() and part not in _UNIONS]
    name = ".".join([*([prefix] if prefix else []), *path])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = keys(cls, prefix)
        return BadInput(f"unknown key {name}", f"{name}={first['input']}", suggest(name, known))
    if first["type"] in ("missing", "missing_argument"):
        hint = (
            " (an env file begins with defaults: [_base, _self_])"
            if name.startswith("env.")
            else ""
        )
        return BadInput(f"{name} has no value", name, f"give {name}=<value>{hint}")
    doc = keys(cls, prefix).get(name)
    told = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    what = told if first["type"] == "value_error" else f"{name} must be {told}"
    value = first["input"] if not isinstance(first["input"], dict) else "{...}"
    where = f"{name}={json.dumps(value, default=str)}" if path else name or "configuration"
    return BadInput(what, where, f"{name}: {doc.describe()}" if doc else "")


_UNIONS = ("int", "float", "str", "bool", "function-before", "list")


def suggest(name: str, known: Mapping[str, Key]) -> str:
    """The nearest key, by its whole path or by its last word."""
    leaf = name.rsplit(".", 1)[-1]
    same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == leaf]
    if same_leaf:
        return f"did you mean {same_leaf[0]}?"
    return did_you_mean(name, known, "see rl-train --help for every key")


@dataclasses.dataclass(frozen=True)
class Key:
    """One documented key: for `--help` and for error messages."""

    type: str
    interval: str
    doc: str

    def describe(self) -> str:
        return f"{self.type}{' in ' + self.interval if self.interval else ''}; {self.doc}"


def keys(cls: type, prefix: str = "") -> dict[str, Key]:
    """Every key of a schema by its dotted path, nested schemas included."""
    found: dict[str, Key] = {}
    for name, info in cls.__pydantic_fields__.items():  # type: ignore[attr-defined]
        path = f"{prefix}.{name}" if prefix else name
        if hasattr(info.annotation, "__pydantic_fields__"):
            found |= keys(info.annotation, path)
        else:
            found[path] = Key(_type_name(info.annotation), _interval(info), info.description or "")
    return found


def _type_name(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):  # Annotated[int, ...]
        return _type_name(annotation.__origin__)
    text = (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )
    if text.startswith("typing.Literal"):
        return " | ".join(str(choice) for choice in annotation.__args__)
    if text.startswith("dict"):
        return "mapping"
    if text.startswith("tuple"):
        return f"[{_type_name(annotation.__args__[0])}, ...]"
    if hasattr(annotation, "__args__"):
        return " | ".join(_type_name(part) for part in annotation.__args__)
    return "null" if text == "NoneType" else text


def _bound(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _interval(info: Any) -> str:
    low, high = "(-inf", "inf)"
    for bound in info.metadata:
        if hasattr(bound, "ge"):
            low = f"[{_bound(bound.ge)}"
        if hasattr(bound, "gt"):
            low = f"({_bound(bound.gt)}"
        if hasattr(bound, "le"):
            high = f"{_bound(bound.le)}]"
        if hasattr(bound, "lt"):
            high = f"{_bound(bound.lt)})"
    return "" if (low, high) == ("(-inf", "inf)") else f"{low}, {high}"
