"""Envs so small that an agent's value or policy can be known on paper.

After Andy Jones, "Debugging RL, Without the Agonizing Pain": each adds one thing to the one before,
so the first that fails names what is broken.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Probe(gym.Env):
    """Two actions that mean nothing, one observation, one step, reward 1."""

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
    """The reward is the observation, -1 or 1: does the value depend on what is seen?"""

    def first(self):
        return self.coin()

    def step(self, action):
        return self.obs, float(self.obs[0]), True, False, {}


class DelayedReward(Probe):
    """Two steps, reward 1 at the second: is it discounted once?"""

    def step(self, action):
        first = self.obs[0] == 0.0
        self.obs = np.ones(1, np.float32)
        return self.obs, 0.0 if first else 1.0, not first, False, {}


class ActionReward(Probe):
    """Action 1 earns 1, action 0 loses 1: does the policy improve?"""

    def step(self, action):
        return self.obs, 1.0 if action == 1 else -1.0, True, False, {}


class MatchObservation(Probe):
    """The action must be that of the observation: is action matched to state?"""

    def first(self):
        return self.coin()

    def step(self, action):
        right = action == (self.obs[0] > 0)
        return self.obs, 1.0 if right else -1.0, True, False, {}


class MatchBox(MatchObservation):
    """The same with a real-valued action, which should come near half the observation."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action):
        return self.obs, 1.0 - abs(float(action[0]) - 0.5 * float(self.obs[0])), True, False, {}


class MatchPair(MatchObservation):
    """The same with two independent choices, of 2 and of 3: sign of the observation, and always 2."""

    action_space = spaces.MultiDiscrete([2, 3])

    def step(self, action):
        right = int(action[0] == (self.obs[0] > 0)) + int(action[1] == 2)
        return self.obs, float(right), True, False, {}


class ForeverOne(Probe):
    """Reward 1 at each step and no end but the time limit: V = 1 / (1 - gamma) if it bootstraps."""

    def step(self, action):
        return self.obs, 1.0, False, False, {}


class Wander(Probe):
    """Real-valued actions, other observations at each step, ends of both kinds: nothing to learn."""

    action_space = spaces.Box(-1.0, 3.0, (2,), np.float32)
    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def first(self):
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)

    def step(self, action):
        reward = -float(np.abs(action - self.obs[:2]).sum())
        self.obs = self.first()
        return self.obs, reward, bool(self.np_random.random() < 0.1), False, {}


class Explodes(Probe):
    """Rewards of 1 that become infinite after 100 steps."""

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
