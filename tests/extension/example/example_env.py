"""An environment of another package: action 1 walks to the end of a corridor, where the reward is 1."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, length: int = 5, render_mode: str | None = None) -> None:
        self.length, self.position, self.render_mode = length, 0, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.position += int(action)
        end = self.position == self.length
        obs = np.array([self.position / self.length], np.float32)
        return obs, float(end), end, False, {}


gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=20)
