"""B7: a number that is none ends the run within one update, by name; no checkpoint holds it."""

from __future__ import annotations

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import NonFinite
from rl_cli.engine.learner import Learner
from rl_cli.storage import checkpoint_reader, manifest
from tests.bars.killing import FULL, SMALL
from tests.config.test_config import compose
from tests.runs import train

AT = 137  # env step (of one env) at which it happens


class Spoilt(gym.Env):
    """Episodes of ten steps; at step `AT` of its life, `where` holds `value`."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self, where="reward", value="nan", render_mode=None):
        self.where, self.value, self.age, self.left = where, float(value), 0, 0
        self.render_mode = render_mode

    def _obs(self, spoil):
        obs = np.full(3, 0.5, np.float32)
        obs[1] = self.value if spoil else 0.5
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self._obs(self.where == "reset" and self.age >= AT), {}

    def step(self, action):
        self.age += 1
        self.left -= 1
        over = self.left == 0
        late = self.age >= AT
        spoil = late and (self.where == "step" or (self.where == "terminal" and over))
        reward = self.value if late and self.where == "reward" else 1.0
        return self._obs(spoil), reward, over, False, {}


gym.register("Spoilt-v0", Spoilt)

BASE = [
    "hparams=none", "env=custom", "env.id=Spoilt-v0", "env.num_envs=2", "total_timesteps=600",
    "total_episodes=null",
    "eval.every=100", "eval.episodes=1", "checkpoint.every=60", "log.every=500",
    "log.tensorboard=false", "video.episodes=0", "compile=false", "quiet=true",
]  # fmt: skip
WHERE = {
    "reward": ("a reward of", 2 * AT),
    "step": ("an observation with", 2 * AT),
    "terminal": ("an observation with", 280),  # the first episode end after it
    "reset": ("an observation with", 280),
}
CASES = [(w, v) for w in WHERE for v in ("nan", "inf")]
ALGOS = list(SMALL) if FULL else ["ppo"]
DISCRETE = {"ppo_by_episodes": ["algo.std=learned", "algo.squash_actions=false"]}
"""What a combination for real-valued actions has to do without here."""


def _fails(here, *overrides, where="nowhere", value="nan"):
    config = compose(*overrides) | {"run_dir": str(here / "r")}
    config["env"]["kwargs"] = {"where": where, "value": value}
    with pytest.raises(NonFinite) as caught:
        train(config, ("a", "e"))
    assert caught.value.exit_code == 3
    steps = manifest.steps_in(here / "r/checkpoints")
    for step in steps:
        path = checkpoint_reader.find(here / "r", str(step))
        policy = checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))
        assert all(np.isfinite(a).all() for a in policy.values())
    if steps:
        assert caught.value.kept == f"checkpoint {steps[-1]} in r"
    status = json.loads((here / "r/status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("failed", 3)
    return caught.value, status["step"]


@pytest.mark.parametrize("algo", ALGOS)
@pytest.mark.parametrize(("where", "value"), CASES if FULL else [CASES[i] for i in (0, 3, 4, 6)])
def test_an_env_s_number(here, algo, where, value):
    error, step = _fails(
        here, *SMALL[algo], *DISCRETE.get(algo, []), *BASE, where=where, value=value
    )
    said, when = WHERE[where]
    assert said in error.what
    assert value in error.what
    assert step == when - 2  # steps done and kept before the one that went wrong
    assert f"step={step}, env=0" in error.where
    if where != "reset":
        assert "action=" in error.where
        assert f"step {(when // 2 - 1) % 10 + 1} of its episode" in error.where
    print("B7 got/needed: 1/1")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in acting with such weights
@pytest.mark.parametrize(
    "algo",
    [a for a in ALGOS if a != "reinforce_mean"],  # episodes are alike: no advantage, no step
)
def test_a_step_size_out_of_this_world(here, algo, monkeypatch):
    """The weights overflow at the first update; the second one is not begun."""
    updates, plain = [], Learner.update

    def step(self, *inputs, learning_rate):
        updates.append(learning_rate)
        return plain(self, *inputs, learning_rate=1e36)

    monkeypatch.setattr(Learner, "update", step)
    error, _ = _fails(here, *SMALL[algo], *DISCRETE.get(algo, []), *BASE)
    by_priority = algo in ("dqn_rainbow", "dqn_sarsa")  # whose TD errors are looked at first
    assert ("a TD error" if by_priority else "train/grad_norm") in error.what
    assert len(updates) <= {"dqn": 2, "ppo": 2 * 4 * 4, "reinforce": 2}[algo.split("_")[0]]
    print("B7 got/needed: 1/1")


@pytest.mark.parametrize("algo", ALGOS)
def test_a_weight(here, algo, monkeypatch):
    """A weight that has become nan by whatever cause is met at the next update."""
    count, plain = [0], Learner.update

    def step(self, *inputs, learning_rate):
        count[0] += 1
        if count[0] == 5:
            self.flat[3] = math.nan
        return plain(self, *inputs, learning_rate=learning_rate)

    monkeypatch.setattr(Learner, "update", step)
    _fails(here, *SMALL[algo], *DISCRETE.get(algo, []), *BASE)
    assert (
        count[0] <= {"dqn": 5, "ppo": 16, "reinforce": 5}[algo.split("_")[0]]
    )  # ppo: of one rollout
    print("B7 got/needed: 1/1")
