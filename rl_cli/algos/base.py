"""The interface of an algorithm: act, observe, update; predict for evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

import numpy as np
import torch

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core.errors import UpdateInterrupted
from rl_cli.core.fields import Fields
from rl_cli.core.schedules import linear
from rl_cli.core.seeding import rng_state, set_rng_state, stream
from rl_cli.core.types import EnvSpec, Metrics, Params, State, Transition
from rl_cli.engine.average import AveragedWeights
from rl_cli.engine.learner import Learner
from rl_cli.models.networks import MLP, layers_size


class UpdateSpec(NamedTuple):
    """The updates of an algorithm, in a form that the native collector can run between env steps.

    At each multiple of `every` env steps: `batches` batches of `batch_size` rows are drawn uniformly from
    the algorithm's replay buffer with `sample_rng`, and the learner makes one update on each. Then, at
    each multiple of `target_update_every`, the target parameters move by `tau`.
    """

    every: int  # env steps
    batches: int
    batch_size: int
    numbers: Callable[
        [int], tuple[float, ...]
    ]  # env step -> scalar inputs of the loss after the rows
    target_update_every: int  # env steps; 0: no target network
    tau: float
    done: Callable[[int], None]  # called with the env step up to which all updates have been made


class NativeSpec(NamedTuple):
    """Action selection of an algorithm, in a form that the native collector can run.

    categorical: the outputs of `net` are logits; gaussian: they are means. Both sample with `explore_rng`,
    with the same bits as `act`. `update=None`: between env steps nothing is learned, and collection
    stops at `next_update`, where `Algorithm.update` is called.
    """

    rule: Literal["epsilon_greedy", "categorical", "gaussian"]
    net: MLP
    next_update: Callable[[int], int]  # env step -> first later step at which `update` may learn
    epsilon: Callable[[int], float] | None = None  # env step -> probability of a random action
    std: Callable[[], np.ndarray] | None = None  # () -> (A,) float32; constant between updates
    update: UpdateSpec | None = None  # must be None if `std` is given


C = TypeVar("C", bound=AlgoConfig)


class Buffer(Protocol):
    """The interface of a replay or rollout buffer."""

    def add(self, transition: Transition) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Algorithm(ABC, Generic[C]):
    """A learning agent. It handles arrays and step counts; it does not use files, loggers or Gymnasium.

    A subclass defines `Config` and the kinds of action it `supports`, and creates `learner` and
    `buffer` in `__init__`. This class saves and restores both. Steps are env steps over all envs.

    Attributes:
        learner: the parameters and their optimizer.
        buffer: of transitions.
        weight_average: evaluated and saved in place of the learner's; None (the default): the learner's.
        encoder_description: the encoder of each part of an observation, as text; empty (the default): not
            known.

    Args:
        cfg: the algorithm's keys.
        spec: shapes of observations and actions, number of envs N.
        total_timesteps: env steps of the whole run, the end of annealed schedules.
        seed: of initial weights, exploration and minibatches, each with its own random stream.
        device: of the networks.

    """

    Config: ClassVar[type[AlgoConfig]]
    supports: ClassVar[tuple[str, ...]]
    learner: Learner
    buffer: Buffer
    weight_average: AveragedWeights | None = None
    encoder_description: str = ""

    def __init__(
        self, cfg: C, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        self.cfg, self.spec, self.total_timesteps = cfg, spec, total_timesteps
        self.seed, self.device = seed, device
        self.explore_rng = stream(seed, "explore")
        self.sample_rng = stream(seed, "sample")

    @classmethod
    def size(cls, cfg: C, spec: EnvSpec) -> int:
        """Number of parameters of the policy (a lower bound), computed without allocating them."""
        return layers_size(cfg.hidden_sizes)

    @abstractmethod
    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        """Actions for training, with exploration. (N, *obs_shape) -> (N, *action_shape)."""

    @abstractmethod
    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Actions for evaluation: greedy, or sampled if `rng` is given. Shapes as in `act`."""

    @abstractmethod
    def update(self, step: int) -> Metrics | None:
        """Make the updates that are due at env step `step`.

        Returns:
            Metrics of K updates, (K,) each; None if no update was made.

        """

    def try_update(self, step: int) -> Metrics | None:
        """`update`; if a signal stops the run while the update step compiles, nothing has changed.

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
        """Gradient steps on batches of one shape in the whole run; 0: unknown."""
        return 0

    def native_spec(self) -> NativeSpec | None:
        """The parts of `act` and `update` that the native collector may run in C, with the same results.

        None (the default): the algorithm runs with the eager collector, in Python.
        """
        return None

    def observe(self, transition: Transition) -> None:
        """Store one step of all envs."""
        self.buffer.add(transition)

    def prefill(self, transitions: Transition) -> None:
        """Store R recorded transitions (R, ...), one at a time."""
        for i in range(len(transitions.reward)):
            self.buffer.add(Transition(*(column[i : i + 1] for column in transitions)))

    def learning_rate(self, step: int) -> float:
        """Learning rate at `step`: constant, or annealed linearly to 0 at `total_timesteps`."""
        return self.annealed(self.cfg.learning_rate, self.cfg.anneal_learning_rate, step)

    def annealed(self, number: float, anneal: bool, step: int) -> float:
        """`number` at `step`: constant, or annealed linearly to 0 at `total_timesteps`."""
        return linear(number, 0.0 if anneal else number, self.total_timesteps, step)

    def policy_state(self) -> Params:
        """The parameters that are evaluated, by name, on the CPU: averages if there are any."""
        return (self.weight_average or self.learner).policy_state()

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None:
        """Load the parameters of a checkpoint.

        Raises:
            ValueError: a name or a shape differs.

        """
        self.learner.load_policy(params)
        if self.weight_average is not None:
            self.weight_average.reset()

    def state_dict(self) -> State:
        """Everything that resuming needs in addition to the policy."""
        state: State = {
            "learner": self.learner.state_dict(),
            "buffer": self.buffer.state_dict(),
            "explore_rng": rng_state(self.explore_rng),
            "sample_rng": rng_state(self.sample_rng),
        }
        if self.weight_average is not None:
            state["average"] = self.weight_average.state_dict()
        return state

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned. Raises StateError for values out of their range."""
        fields = Fields(state)
        self.learner.load_state_dict(fields.mapping("learner"))
        self.buffer.load_state_dict(cast(State, fields.part("buffer").state))
        set_rng_state(self.explore_rng, fields.mapping("explore_rng"))
        set_rng_state(self.sample_rng, fields.mapping("sample_rng"))
        if self.weight_average is not None:
            self.weight_average.load_state_dict(fields.mapping("average"))
