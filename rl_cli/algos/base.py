"""What the trainer asks of an algorithm: act, observe, update; predict for evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

import numpy as np
import torch

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core.errors import UpdateInterrupted
from rl_cli.core.schedules import linear
from rl_cli.core.seeding import rng_state, set_rng_state, stream
from rl_cli.core.types import EnvSpec, Metrics, Params, State, Transition
from rl_cli.engine.learner import Learner
from rl_cli.models.networks import MLP, layers_size


class UpdateSpec(NamedTuple):
    """How an algorithm learns, said as plainly as `NativeSpec`.

    At each multiple of `every` env steps: `batches` batches of `batch_size` rows, drawn evenly from its
    replay buffer by `sample_rng`, and a step of its learner on each. Then, at each multiple of
    `target_update_every`, the target moves by `tau`.
    """

    every: int
    batches: int
    batch_size: int
    numbers: Callable[[int], tuple[float, ...]]  # by step: the loss's inputs beside the rows
    target_update_every: int  # 0: there is no target
    tau: float
    done: Callable[[int], None]  # told up to which step all this has been done


class NativeSpec(NamedTuple):
    """How an algorithm acts, said so plainly that `stretch` can do the same in machine code.

    categorical: an action by the logits of `net`; gaussian: its outputs and noise of `std`; each from
    `explore_rng`, as `choices` and `gaussians.Gaussian` do.
    """

    rule: Literal["epsilon_greedy", "categorical", "gaussian"]
    net: MLP
    epsilon: Callable[[int], float] | None = None  # by step
    std: Callable[[], np.ndarray] | None = None  # () -> (A,) float32; looked at before each stretch
    lesson: UpdateSpec | None = None  # None: only `update` knows how to learn; without `std`


C = TypeVar("C", bound=AlgoConfig)


class Buffer(Protocol):
    def add(self, transition: Transition) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Algorithm(ABC, Generic[C]):
    """One agent. It sees arrays and steps; never files, loggers or gymnasium.

    A subclass names its `Config` and the kinds of action it `supports`, and makes in `__init__`
    a `learner` and a `buffer`; saving and restoring both is done here.

    Args:
        cfg: the algorithm's own keys.
        spec: shapes of observations and actions, number of envs.
        total_timesteps: budget of the run, for schedules that end with it.
        seed: of initial weights, exploration and minibatches, each a stream of its own.
        device: of the networks.

    """

    Config: ClassVar[type[AlgoConfig]]
    supports: ClassVar[tuple[str, ...]]
    learner: Learner
    buffer: Buffer

    def __init__(
        self, cfg: C, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        self.cfg, self.spec, self.total_timesteps = cfg, spec, total_timesteps
        self.seed, self.device = seed, device
        self.explore_rng = stream(seed, "explore")
        self.sample_rng = stream(seed, "sample")

    @classmethod
    def size(cls, cfg: C, spec: EnvSpec) -> int:
        """Numbers the policy has, told before any of them takes memory; no fewer than these."""
        return layers_size(cfg.hidden_sizes)

    @abstractmethod
    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        """Actions to learn from. (N, *obs_shape) -> (N, *action_shape)."""

    @abstractmethod
    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Actions to evaluate: the most likely ones, or drawn from `rng` if one is given."""

    @abstractmethod
    def update(self, step: int) -> Metrics | None:
        """Learn if it is time to, `step` env steps into the run; None: nothing to learn from yet."""

    def try_update(self, step: int) -> Metrics | None:
        """`update`; if the run is asked to stop while the learning step compiles, nothing has changed.

        `update` may change the buffer only after its calls of the learner.

        Raises:
            UpdateInterrupted: the learner, the random generators and the algorithm's own numbers are
                what they were; the update is to be made when the run is resumed.

        """
        if not self.learner.awaits_compiling:
            return self.update(step)
        numbers = {k: v for k, v in vars(self).items() if isinstance(v, int | float)}
        generators = [(rng, rng_state(rng)) for rng in (self.explore_rng, self.sample_rng)]
        try:
            with self.learner.undo_if_interrupted():
                return self.update(step)
        except UpdateInterrupted:
            vars(self).update(numbers)
            for rng, state in generators:
                set_rng_state(rng, state)
            raise

    def planned_updates(self) -> int:
        """Gradient steps of like shape that the whole budget will hold; 0: not known."""
        return 0

    def native_spec(self) -> NativeSpec | None:
        """What `act` and `observe` do, for many steps at once; None: more than can be said so."""
        return None

    def next_update(self, step: int) -> int:
        """First step after `step` at which `update` may have something to do."""
        return step + 1

    def observe(self, transition: Transition) -> None:
        """Remember a step of all envs."""
        self.buffer.add(transition)

    def prefill(self, transitions: Transition) -> None:
        """Remember transitions of somebody else, (R, ...), one after the other."""
        for i in range(len(transitions.reward)):
            self.buffer.add(Transition(*(column[i : i + 1] for column in transitions)))

    def learning_rate(self, step: int) -> float:
        """Adam's step size now: constant, or decaying to 0 at the end of the budget."""
        return self.annealed(self.cfg.learning_rate, self.cfg.anneal_learning_rate, step)

    def annealed(self, number: float, anneal: bool, step: int) -> float:
        """A number now: constant, or decaying to 0 at the end of the budget."""
        return linear(number, 0.0 if anneal else number, self.total_timesteps, step)

    def policy_state(self) -> Params:
        """All that replaying needs, by name."""
        return self.learner.policy_state()

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None:
        """Take over the weights of a checkpoint; ValueError names what does not fit."""
        self.learner.load_policy(params)

    def state_dict(self) -> State:
        """All that going on needs beside the policy."""
        return {
            "learner": self.learner.state_dict(),
            "buffer": self.buffer.state_dict(),
            "explore_rng": rng_state(self.explore_rng),
            "sample_rng": rng_state(self.sample_rng),
        }

    def load_state_dict(self, state: State) -> None:
        self.learner.load_state_dict(cast(State, state["learner"]))
        self.buffer.load_state_dict(cast(State, state["buffer"]))
        set_rng_state(self.explore_rng, cast(State, state["explore_rng"]))
        set_rng_state(self.sample_rng, cast(State, state["sample_rng"]))
