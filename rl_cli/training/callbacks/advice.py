"""Notes about settings under which an agent cannot learn, with the key to change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_cli.core.seeding import stream
from rl_cli.core.types import ActionSpec
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Policy
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.triggers import Trigger

SAMPLES = 256
"""Actions that are looked at, at the start and in a window of training."""

PIXEL_SAMPLES = 16
"""The same at the start for large observations, whose network is slow."""

WATCHED_ENVS = 16
"""Envs whose latest actions are looked at."""

ALMOST_ALL = 0.95
"""Share of clipped actions above which the policy gets almost no gradient."""

SMALL_PART, WIDE = 0.1, 10.0
"""Part of the bounds that the first actions cover, and width of bounds, for which there is a line."""


class AdviceCallback(Callback):
    """Looks at the observations and the first actions of a run, and at clipped actions later.

    Args:
        envs: of the training.
        predict: the policy; it draws from a stream of its own here.
        seed: of the run.
        notify: prints a line.
        trigger: when to look at the latest actions.

    """

    name = "advice"

    def __init__(
        self,
        envs: VectorEnv,
        predict: Policy,
        seed: int,
        notify: Callable[[str], None],
        trigger: Trigger,
    ) -> None:
        self.envs, self.predict, self.notify, self.trigger = envs, predict, notify, trigger
        self.rng, self.action = stream(seed, "advice"), envs.spec.action
        self.clipped = ClippedActions(self.action) if self.action.kind == "box" else None
        self.checks_info = True  # once
        self.episodes = 0  # before this process

    def start(self, state: RunState) -> None:
        self.trigger.restart(*state.served)
        self.episodes = state.episodes
        if state.step:  # resumed
            return
        for about_images in self.envs.notes:
            self.notify(about_images)
        if self.clipped is not None and (note := first_actions(self._first(), self.action)):
            self.notify(note)
            self.clipped = None

    def next_due(self, step: int) -> int:
        return self.trigger.next_due(step)

    def run(self, state: RunState) -> None:
        if not self.trigger.fire(state.step, state.episodes):
            return
        if self.checks_info and state.episodes > self.episodes:
            self.checks_info = False
            if keys := self.envs.infos.missing():
                self.notify(f"env.log_info: info has had no number named {', '.join(keys)} so far")
        if self.clipped is None:
            return
        logs = self.envs.actions[:WATCHED_ENVS]
        note = self.clipped.add(np.concatenate([log.latest(SAMPLES) for log in logs]))
        if note:
            self.notify(f"{note}, up to step {state.step:,}; {_help(self.action)}")
            self.clipped = None

    def _first(self) -> np.ndarray:
        """Actions of the initial policy at the first observation. (S, *action_shape)."""
        obs = self.envs.obs[:1]
        count = SAMPLES if obs.ndim == 2 else PIXEL_SAMPLES
        return self.predict(np.repeat(obs, count, axis=0), self.rng)


def first_actions(actions: np.ndarray, action: ActionSpec) -> str | None:
    """A line if the initial policy (S actions) misses the bounds or covers a small part of them."""
    rows, low, high = actions.reshape(len(actions), -1), np.array(action.low), np.array(action.high)
    means, stds = rows.mean(0), rows.std(0)
    below, above = (rows <= low).mean(0) >= ALMOST_ALL, (rows >= high).mean(0) >= ALMOST_ALL
    either = ((rows <= low) | (rows >= high)).mean(0) >= ALMOST_ALL
    width = high - low
    inside = np.clip(rows, low, high)
    covered = np.ptp(inside, axis=0) / np.where(width > 0, width, 1.0)
    narrow = np.isfinite(width) & (width > WIDE) & (covered < SMALL_PART)
    for j in np.flatnonzero((width > 0) & (either | narrow)):
        bounds = f"the bounds {low[j]:g} to {high[j]:g} of action {j}"
        start = f"the first actions are about {means[j]:.2g} +- {stds[j]:.2g}"
        if below[j] or above[j]:
            bound = low[j] if below[j] else high[j]
            what = f"outside of {bounds}: they are clipped to {bound:g}, which gives no gradient"
        elif either[j]:
            what = f"outside of {bounds}: they are clipped to either bound"
        else:
            what = f"a small part of {bounds}"
        return f"{start}, {what}; {_help(action)}"
    return None


def _help(action: ActionSpec) -> str:
    if np.isfinite([*action.low, *action.high]).all():
        return "env.scale_actions=true maps actions from [-1, 1] to the bounds"
    return "wrap the env so that useful actions lie around 0"


class ClippedActions:
    """Finds an action that was clipped to the same bound in a whole window of training."""

    def __init__(self, action: ActionSpec) -> None:
        self.low, self.high = np.array(action.low), np.array(action.high)
        self._restart()

    def _restart(self) -> None:
        self.seen = 0
        self.at_low, self.at_high = self.low < self.high, self.low < self.high

    def add(self, actions: np.ndarray) -> str | None:
        """Add (T, *action_shape) actions before they are clipped. -> a line, if all were clipped."""
        rows = actions.reshape(len(actions), len(self.low))  # T may be 0, right after an episode
        self.seen += len(rows)
        self.at_low = self.at_low & (rows < self.low).all(0)
        self.at_high = self.at_high & (rows > self.high).all(0)
        if not (self.at_low | self.at_high).any():
            self._restart()
            return None
        if self.seen < SAMPLES:
            return None
        j = int(np.argmax(self.at_low | self.at_high))
        bound = (self.low if self.at_low[j] else self.high)[j]
        return (
            f"action {j} was clipped to {bound:g} in {self.seen:,} of {self.seen:,} steps looked at"
        )
