"""Probe environments: so small that values and optimal policies are known exactly.

After Andy Jones, "Debugging RL, Without the Agonizing Pain". Each environment adds one property to the
previous one, so the first failing test names the broken part.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Probe(gym.Env):
    """Two actions without effect, one observation, one step, reward 1."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.obs = np.zeros(1, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.obs = self.first()
        return self.obs, {}

    def first(self):
        return np.zeros(1, np.float32)

    def coin(self):
        return np.array([self.np_random.choice([-1.0, 1.0])], np.float32)

    def step(self, action):
        return self.obs, 1.0, True, False, {}


class ObservationReward(Probe):
    """The reward is the observation, -1 or 1. Tests that the value depends on the observation."""

    def first(self):
        return self.coin()

    def step(self, action):
        return self.obs, float(self.obs[0]), True, False, {}


class DelayedReward(Probe):
    """Two steps, reward 1 at the second. Tests that it is discounted once."""

    def step(self, action):
        first = self.obs[0] == 0.0
        self.obs = np.ones(1, np.float32)
        return self.obs, 0.0 if first else 1.0, not first, False, {}


class ActionReward(Probe):
    """Reward 1 for action 1, -1 for action 0. Tests that the policy improves."""

    def step(self, action):
        return self.obs, 1.0 if action == 1 else -1.0, True, False, {}


class MatchObservation(Probe):
    """Reward 1 if the action is the sign of the observation. Tests that actions depend on observations."""

    def first(self):
        return self.coin()

    def step(self, action):
        right = action == (self.obs[0] > 0)
        return self.obs, 1.0 if right else -1.0, True, False, {}


class MatchBox(MatchObservation):
    """MatchObservation with a continuous action; the optimum is half the observation."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action):
        return self.obs, 1.0 - abs(float(action[0]) - 0.5 * float(self.obs[0])), True, False, {}


class MatchPair(MatchObservation):
    """MatchObservation with two choices, of 2 and of 3; the optimum is the sign of the observation, and 2."""

    action_space = spaces.MultiDiscrete([2, 3])

    def step(self, action):
        right = int(action[0] == (self.obs[0] > 0)) + int(action[1] == 2)
        return self.obs, float(right), True, False, {}


class ForeverOne(Probe):
    """Reward 1 per step, ended by the time limit only: V = 1 / (1 - gamma) with bootstrapping."""

    def step(self, action):
        return self.obs, 1.0, False, False, {}


class Wander(Probe):
    """Continuous actions, random observations, terminated and truncated episodes; nothing to learn."""

    action_space = spaces.Box(-1.0, 3.0, (2,), np.float32)
    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def first(self):
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)

    def step(self, action):
        reward = -float(np.abs(action - self.obs[:2]).sum())
        self.obs = self.first()
        return self.obs, reward, bool(self.np_random.random() < 0.1), False, {}


class Explodes(Probe):
    """Reward 1, infinite after 100 steps."""

    taken = 0

    def step(self, action):
        self.taken += 1
        return self.obs, 1.0 if self.taken <= 100 else float("inf"), True, False, {}


PROBES = {
    "Constant": Probe,
    "ObservationReward": ObservationReward,
    "DelayedReward": DelayedReward,
    "ActionReward": ActionReward,
    "MatchObservation": MatchObservation,
    "MatchBox": MatchBox,
    "MatchPair": MatchPair,
    "Explodes": Explodes,
}
for _name, _cls in PROBES.items():
    gym.register(f"Probe{_name}-v0", entry_point=_cls, reward_threshold=1.0)
gym.register("ProbeForeverOne-v0", entry_point=ForeverOne, max_episode_steps=5)
gym.register("ProbeEndless-v0", entry_point=ForeverOne, reward_threshold=float("inf"))
gym.register("ProbeWander-v0", entry_point=Wander, max_episode_steps=5)
