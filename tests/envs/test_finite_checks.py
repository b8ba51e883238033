"""Non-finite rewards and observations raise before they are used."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import NonFinite
from tests.envs.test_vector import vector


class NonFiniteEnv(gym.Env):
    """Returns large finite numbers, and `value` in the second step of the episode with `bad_seed`."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def __init__(self, value, at, bad_seed, render_mode=None):
        self.value, self.at, self.bad_seed = float(value), at, bad_seed

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.bad = 0, seed == self.bad_seed
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.t += 1
        obs, reward = np.full(4, 1e18, np.float32), 1.0
        if self.bad and self.t == 2:
            if self.at == "reward":
                reward = self.value
            else:
                obs[int(self.at)] = self.value
        return obs, reward, False, False, {}


gym.register("TestNonFinite-v0", NonFiniteEnv)


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("at", ["0", "3", "reward"])
def test_non_finite_value_raises_with_env_and_step(num_envs, value, at):
    """One env uses the scalar sum, two use numpy; finite values whose squares overflow pass."""
    bad = {"value": value, "at": at, "bad_seed": num_envs - 1}
    envs = vector("TestNonFinite-v0", num_envs, seed=0, kwargs=bad)
    envs.reset()
    envs.step(np.zeros(num_envs, np.int64))
    with pytest.raises(NonFinite) as caught:
        envs.step(np.zeros(num_envs, np.int64))
    assert f" {value}" in caught.value.what
    assert caught.value.what.endswith(f"of {value}" if at == "reward" else f"at {at}")
    assert caught.value.where == f"env={num_envs - 1}, step 2 of its episode, action=0"


def test_large_finite_values_cost_no_warning():
    """A process of its own: pytest has other filters of warnings."""
    code = "import numpy as np; from rl_cli.envs.finite_checks import is_finite; "
    code += "assert is_finite(np.full(4, 1.8e19, np.float32)); assert np.float32(3e38) * 2 > 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line, *_) = done.stderr.splitlines()  # of other code's overflow
    assert "overflow encountered in scalar multiply" in line
