"""n-step experiences from single steps."""

from __future__ import annotations

import numpy as np

from rl_cli.buffers.columns import Columns
from rl_cli.core.fields import COUNT, Fields, StateError
from rl_cli.core.types import EnvSpec, Experience, State, Transition

NO_ACTION = np.array([-1])
"""next_action of one env where the episode ended."""


def make_lookahead(n: int, gamma: float, with_next_action: bool, spec: EnvSpec) -> Lookahead | None:
    """The n-step window; None for n=1 without next_action, which needs none."""
    return Lookahead(n, gamma, with_next_action, spec) if n > 1 or with_next_action else None


class Lookahead:
    """Window that combines steps to n-step experiences (Sutton & Barto 2018, section 7.1).

    An experience has R = r_t + gamma r_{t+1} + ... over m steps, the observation after the last of
    them and gamma^m; m = n, or fewer if the episode ends before. It is complete after n steps, with
    `next_action` after n + 1. Once the window is full, each step completes one experience, also
    after the end of an episode.

    Args:
        n: steps, at least 1.
        gamma: discount factor.
        with_next_action: include the action after the last step (SARSA).
        spec: of the envs.

    """

    def __init__(self, n: int, gamma: float, with_next_action: bool, spec: EnvSpec) -> None:
        self.n, self.gamma, self.with_next_action = n, gamma, with_next_action
        self.depth = n + with_next_action
        self.steps = Columns((self.depth, spec.num_envs), spec)
        self.taken = np.zeros(spec.num_envs, np.int64)  # steps of each env so far

    def add(self, transition: Transition) -> Experience | None:
        """Add a step of the first envs. -> the experiences that it completes; None: none."""
        if len(self.taken) == 1:
            return self._add_one(transition)
        envs = np.arange(len(transition.reward))
        for column, value in zip(self.steps.arrays, transition, strict=True):
            column[self.taken[envs] % self.depth, envs] = value
        self.taken[envs] += 1
        ready = envs[self.taken[envs] >= self.depth]
        return self._experience(ready) if len(ready) else None

    def _add_one(self, transition: Transition) -> Experience | None:
        """`add` for one env with Python floats: bit-identical and several times faster."""
        taken = int(self.taken[0])
        self.steps.write(taken % self.depth, transition)
        self.taken[0] = taken + 1
        return self._experience_of_one(taken + 1) if taken + 1 >= self.depth else None

    def _experience_of_one(self, taken: int) -> Experience:
        steps, first = self.steps.arrays, taken % self.depth  # the oldest step
        last, total, discount, ended = first, 0.0, 1.0, False
        for k in range(self.n):
            last = (first + k) % self.depth
            total += discount * steps.reward.item(last)
            discount *= self.gamma
            ended = bool(steps.terminated.item(last) or steps.truncated.item(last))
            if ended:
                break
        follows = self.with_next_action and not ended
        return Experience(
            obs=steps.obs[first].copy(),
            action=steps.action[first].copy(),
            reward=np.array([total], np.float32),
            next_obs=steps.next_obs[last].copy(),
            terminated=steps.terminated[last].copy(),
            truncated=steps.truncated[last].copy(),
            discount=np.array([discount], np.float32),
            next_action=steps.action[(last + 1) % self.depth].copy() if follows else NO_ACTION,
        )

    def _experience(self, envs: np.ndarray) -> Experience:
        """The experience of the oldest step of each of these envs."""
        steps, first = self.steps.arrays, self.taken[envs] - self.depth
        end = np.full(len(envs), self.n - 1)  # offset of the last step
        reward, discount = np.zeros(len(envs)), np.ones(len(envs))
        running = np.ones(len(envs), bool)
        for k in range(self.n):
            at = (first + k) % self.depth, envs
            reward += np.where(running, discount * steps.reward[at], 0.0)
            discount *= np.where(running, self.gamma, 1.0)
            ended = (steps.terminated[at] + steps.truncated[at]) > 0
            end[running & ended] = k
            running &= ~ended
        oldest, last = (first % self.depth, envs), ((first + end) % self.depth, envs)
        after = (first + end + 1) % self.depth, envs
        follows = running if self.with_next_action else np.zeros(len(envs), bool)
        return Experience(
            obs=steps.obs[oldest],
            action=steps.action[oldest],
            reward=reward.astype(np.float32),
            next_obs=steps.next_obs[last],
            terminated=steps.terminated[last],
            truncated=steps.truncated[last],
            discount=discount.astype(np.float32),
            next_action=np.where(follows, steps.action[after], -1),
        )

    def state_dict(self) -> State:
        return {**self.steps.filled(self.depth), "taken": self.taken}

    def load_state_dict(self, state: State) -> None:
        """Raises StateError for values that the window cannot have."""
        taken = Fields(state).array("taken", self.taken.shape, np.int64, 0, COUNT)
        if self.steps.refill(state, 0, self.depth) != self.depth:
            raise StateError(f"the n-step window does not have {self.depth} rows")
        self.taken[:] = taken  # in place: a native collector has its address
