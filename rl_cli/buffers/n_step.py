"""Steps gathered into experiences that reach over several of them."""

from __future__ import annotations

import numpy as np

from rl_cli.buffers.columns import Columns
from rl_cli.core.types import EnvSpec, Experience, State, Transition

NOTHING = np.array([-1])
"""The action after an episode's end, of one env."""


def make_lookahead(n: int, gamma: float, with_next_action: bool, spec: EnvSpec) -> Lookahead | None:
    """None where a step is all that is asked for."""
    return Lookahead(n, gamma, with_next_action, spec) if n > 1 or with_next_action else None


class Lookahead:
    """Turns each step into what came of it within n steps (Sutton & Barto 2018, section 7.1).

    R = r_t + gamma r_{t+1} + ... over m = n steps, or fewer where the episode ends before; with
    the observation that the last of them led to and gamma^m. A row comes out when the n steps
    are there, and with `next_action` one step later: one row in, one row out, whether an episode
    ends or not.

    Args:
        n: steps, at least 1.
        gamma: discount of a step.
        with_next_action: wait for the action after the last step (SARSA).

    """

    def __init__(self, n: int, gamma: float, with_next_action: bool, spec: EnvSpec) -> None:
        self.n, self.gamma, self.with_next_action = n, gamma, with_next_action
        self.depth = n + with_next_action
        self.steps = Columns((self.depth, spec.num_envs), spec)
        self.taken = np.zeros(spec.num_envs, np.int64)  # steps of each env so far

    def add(self, transition: Transition) -> Experience | None:
        """Take in a step of the first envs. -> the rows that are now complete; None: not yet any."""
        if len(self.taken) == 1:
            return self._add_one(transition)
        envs = np.arange(len(transition.reward))
        for column, value in zip(self.steps.arrays, transition, strict=True):
            column[self.taken[envs] % self.depth, envs] = value
        self.taken[envs] += 1
        ready = envs[self.taken[envs] >= self.depth]
        return self._experience(ready) if len(ready) else None

    def _add_one(self, transition: Transition) -> Experience | None:
        """The same for an only env, of Python's numbers: to the last bit, in a fraction of the time."""
        taken = int(self.taken[0])
        self.steps.write(taken % self.depth, transition)
        self.taken[0] = taken + 1
        return self._experience_of_one(taken + 1) if taken + 1 >= self.depth else None

    def _experience_of_one(self, taken: int) -> Experience:
        steps, begun = self.steps.arrays, taken % self.depth  # the oldest is the next to go
        last, total, discount, over = begun, 0.0, 1.0, False
        for k in range(self.n):
            last = (begun + k) % self.depth
            total += discount * steps.reward.item(last)
            discount *= self.gamma
            over = bool(steps.terminated.item(last) or steps.truncated.item(last))
            if over:
                break
        follows = self.with_next_action and not over
        return Experience(
            obs=steps.obs[begun].copy(),
            action=steps.action[begun].copy(),
            reward=np.array([total], np.float32),
            next_obs=steps.next_obs[last].copy(),
            terminated=steps.terminated[last].copy(),
            truncated=steps.truncated[last].copy(),
            discount=np.array([discount], np.float32),
            next_action=steps.action[(last + 1) % self.depth].copy() if follows else NOTHING,
        )

    def _experience(self, envs: np.ndarray) -> Experience:
        """The oldest step of each of these envs, and what came of it."""
        steps, first = self.steps.arrays, self.taken[envs] - self.depth
        end = np.full(len(envs), self.n - 1)  # the last step that counts, from the first
        reward, discount = np.zeros(len(envs)), np.ones(len(envs))
        under_way = np.ones(len(envs), bool)
        for k in range(self.n):
            at = (first + k) % self.depth, envs
            reward += np.where(under_way, discount * steps.reward[at], 0.0)
            discount *= np.where(under_way, self.gamma, 1.0)
            over = (steps.terminated[at] + steps.truncated[at]) > 0
            end[under_way & over] = k
            under_way &= ~over
        begun, last = (first % self.depth, envs), ((first + end) % self.depth, envs)
        after = (first + end + 1) % self.depth, envs
        follows = under_way if self.with_next_action else np.zeros(len(envs), bool)
        return Experience(
            obs=steps.obs[begun],
            action=steps.action[begun],
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
        self.taken = np.array(state["taken"], np.int64)
        self.steps.refill(state)
