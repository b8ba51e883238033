"""The interface of callbacks: what a run does at intervals, besides collecting and updating."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from rl_cli.config.run import RunConfig
from rl_cli.core.fields import Fields
from rl_cli.core.types import Episode, Metrics, Recording, State
from rl_cli.training.callbacks.history import EvaluationHistory

NEVER = sys.maxsize
"""A step that no run reaches."""


class RunState(Protocol):
    """The state of the run that a callback may read: `training.state.TrainingState`."""

    @property
    def step(self) -> int:
        """Env steps taken, over all envs."""

    @property
    def episodes(self) -> int:
        """Finished training episodes, over all envs."""

    @property
    def served(self) -> tuple[int, int]:
        """`step` and `episodes` when the callbacks last ran: where triggers start to count."""

    @property
    def update_pending(self) -> bool:
        """A signal interrupted the update of this step; the resumed run makes it first."""

    @property
    def elapsed(self) -> float:
        """Seconds spent training, without the time spent in callbacks."""

    def state_dict(self) -> State:
        """Everything that a resumed run needs in addition to the policy's weights."""


class CallbackContext(NamedTuple):
    """First argument of a callback of `callbacks.<name>`: `Class(context, **settings)`."""

    cfg: RunConfig
    folder: Path  # of the run
    predict: Callable[[np.ndarray, np.random.Generator | None], np.ndarray]  # see `Algorithm`
    history: EvaluationHistory  # the evaluations so far
    notify: Callable[[str], None]  # prints a line
    interrupted: Callable[[], bool]  # whether a stop signal arrived


class Callback:
    """One task of a run at intervals. Every method has a default that does nothing.

    The trainer calls `start` once; `update` after each update; `add_episodes` when episodes finish;
    `run` after each collection that reaches `next_due` or makes `is_due` true. At the end it calls
    `finish` or, after a signal, `interrupt`; then `join`; and `close` in every case. When one callback
    is due, `run` is called on all of them: each checks its own trigger. A callback must not draw from
    a random stream of the run.
    """

    name: ClassVar[str]
    """Unique; the key of the callback's state in a checkpoint."""

    def start(self, state: RunState) -> None:
        """The run starts, or resumes at `state.step`. The envs have been reset."""

    def next_due(self, step: int) -> int:
        """First env step after `step` at which `run` is due."""
        return NEVER

    def update(self, metrics: Metrics) -> None:
        """Metrics of K gradient steps, (K,) each. Called often: do not read a tensor's value."""

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        """Finished training episodes, which `state.episodes` includes.

        `recordings` are of the same episodes; empty unless the video callback requests them.
        """

    def is_due(self, state: RunState) -> bool:
        """Whether finished episodes make `run` due at this step. Called after `add_episodes`."""
        return False

    def run(self, state: RunState) -> None:
        """Act at `state.step`, if the callback is due."""

    def stop_reason(self, state: RunState) -> str | None:
        """Why the run should end at this step; None: it continues."""
        return None

    def finish(self, state: RunState) -> None:
        """The run ends at `state.step`: act, unless it was done at this step."""

    def interrupt(self, state: RunState) -> None:
        """A signal ends the run at `state.step`: save the state for a resume, without delay."""

    def join(self) -> None:
        """Wait for work in the background."""

    def close(self) -> None:
        """Release resources. Called once, also after an error; must not raise."""

    def state_dict(self) -> State:
        """State for a resumed run; stored in the checkpoint under `name`."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore the result of `state_dict`. Not called if the checkpoint has none."""


class CallbackList(Callback):
    """Calls callbacks one after the other, in the given order.

    Args:
        callbacks: of the run.
        restore_settings: sets back what an env changed in the process; called before an update is made, and with
            True, which looks at everything, before the callbacks act.

    Raises:
        ValueError: two callbacks have the same name.

    """

    name = "callbacks"

    def __init__(
        self,
        callbacks: Iterable[Callback],
        restore_settings: Callable[[bool], object] = lambda at_once: None,
    ) -> None:
        self.callbacks, self.restore_settings = tuple(callbacks), restore_settings
        names = [callback.name for callback in self.callbacks]
        if len(set(names)) < len(names):
            raise ValueError(f"callbacks need different names, found {names}")

    def start(self, state: RunState) -> None:
        for callback in self.callbacks:
            callback.start(state)

    def next_due(self, step: int) -> int:
        return min((callback.next_due(step) for callback in self.callbacks), default=NEVER)

    def update(self, metrics: Metrics) -> None:
        for callback in self.callbacks:
            callback.update(metrics)

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        for callback in self.callbacks:
            callback.add_episodes(episodes, recordings, state)

    def is_due(self, state: RunState) -> bool:
        return any(callback.is_due(state) for callback in self.callbacks)

    def before_update(self) -> None:
        """Experience was collected."""
        self.restore_settings(False)

    def run(self, state: RunState) -> None:
        self.restore_settings(True)
        for callback in self.callbacks:
            callback.run(state)

    def stop_reason(self, state: RunState) -> str | None:
        reasons = (callback.stop_reason(state) for callback in self.callbacks)
        return next((reason for reason in reasons if reason is not None), None)

    def finish(self, state: RunState) -> None:
        self.restore_settings(True)
        for callback in self.callbacks:
            callback.finish(state)

    def interrupt(self, state: RunState) -> None:
        self.restore_settings(True)
        for callback in self.callbacks:
            callback.interrupt(state)

    def join(self) -> None:
        for callback in self.callbacks:
            callback.join()

    def close(self) -> None:
        for callback in self.callbacks:
            callback.close()

    def state_dict(self) -> State:
        states = {callback.name: callback.state_dict() for callback in self.callbacks}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: State) -> None:
        for callback in self.callbacks:
            if callback.name in state:
                callback.load_state_dict(Fields(state).mapping(callback.name))
