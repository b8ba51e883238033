"""Each algorithm solves probe envs with known values and policies; also builders of small agents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.seeding import env_seeds
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Transition
from rl_cli.envs.vector import VectorEnv
from tests import probe_envs  # noqa: F401  (registers the envs)
from tests.conftest import FULL, REPO

GAMMA = 0.5
CHANGES = {
    "dqn": {
        "learning_rate": 3e-3,
        "hidden_sizes": [32],
        "buffer_size": 2_000,
        "batch_size": 32,
        "learning_starts": 100,
        "train_every": 2,
        "target_update_every": 50,
        "epsilon_end": 0.3,
        "epsilon_steps": 500,
    },
    "ppo": {
        "learning_rate": 3e-3,
        "hidden_sizes": [32],
        "rollout_length": 32,
        "minibatch_size": 64,
        "num_epochs": 6,
    },
    "reinforce": {
        "learning_rate": 5e-3,
        "hidden_sizes": [32],
        "episodes_per_update": 32,
        "normalize_returns": False,
        "vf_coef": 1.0,
    },
}
STEPS = {"dqn": 3_000, "ppo": 6_000, "reinforce": 16_000}
QUICK = list(STEPS) if FULL else ["dqn", "ppo"]
"""The others take seconds; later tests contain the property of these for each algorithm."""


def settings(name, **changes):
    values = dict(OmegaConf.load(REPO / "conf/algo" / f"{name}.yaml"))
    cls = algos.load(name)
    return build(
        cls.Config,
        values | {"gamma": GAMMA, "hidden_sizes": [32]} | CHANGES[name] | changes,
        "algo",
    )


def env_config(env_id, **changes):
    values = OmegaConf.to_container(OmegaConf.load(REPO / "conf/env/_base.yaml"), resolve=False)
    return build(EnvConfig, values | {"id": env_id, "reward_gamma": GAMMA} | changes, "env")


def trained(name, env_id, num_envs=4, seed=0, **changes):
    """The agent after STEPS[name] env steps of the plain training loop."""
    envs = VectorEnv(env_config(env_id, num_envs=num_envs), env_seeds(seed, num_envs))
    cpu = torch.device("cpu")
    algo = algos.load(name)(settings(name, **changes), envs.spec, STEPS[name], seed, cpu)
    obs, step = envs.reset(), 0
    while step < STEPS[name]:
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        step += num_envs
        algo.update(step)
    return algo


def value(algo, obs, action=0):
    """The estimated V(s), or Q(s, action) of DQN."""
    obs = torch.tensor([[obs]], dtype=torch.float32)
    with torch.no_grad():
        if hasattr(algo, "q"):
            return algo.q(algo.learner.params, obs)[0, action].item()
        return algo.net.value(algo.learner.params, obs).item()


def choice(algo, obs):
    return algo.predict(np.array([[obs]], np.float32), None)[0]


@pytest.mark.parametrize("name", QUICK)
def test_value_of_constant_reward_is_learned(name):
    assert value(trained(name, "ProbeConstant-v0"), 0.0) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", QUICK)
def test_value_depends_on_observation(name):
    algo = trained(name, "ProbeObservationReward-v0")
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, -1.0) == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_delayed_reward_is_discounted_once(name):
    algo = trained(name, "ProbeDelayedReward-v0")
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, 0.0) == pytest.approx(GAMMA, abs=0.1)


@pytest.mark.parametrize("name", QUICK)
def test_policy_selects_rewarded_action(name):
    algo = trained(name, "ProbeActionReward-v0")
    assert choice(algo, 0.0) == 1
    if name == "dqn":
        assert value(algo, 0.0, action=0) == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_policy_depends_on_observation(name):
    algo = trained(name, "ProbeMatchObservation-v0")
    assert choice(algo, 1.0) == 1
    assert choice(algo, -1.0) == 0


@pytest.mark.parametrize("name", ["ppo", "reinforce"] if FULL else ["ppo"])
def test_continuous_action_approaches_optimum(name):
    algo = trained(name, "ProbeMatchBox-v0", log_std_init=-1.0)
    assert choice(algo, 1.0)[0] == pytest.approx(0.5, abs=0.15)
    assert choice(algo, -1.0)[0] == pytest.approx(-0.5, abs=0.15)


@pytest.mark.parametrize("name", ["ppo", "reinforce"] if FULL else ["ppo"])
def test_multidiscrete_actions_are_each_learned(name):
    algo = trained(name, "ProbeMatchPair-v0")
    assert choice(algo, 1.0).tolist() == [1, 2]
    assert choice(algo, -1.0).tolist() == [0, 2]


@pytest.mark.parametrize("name", STEPS)
def test_value_is_bootstrapped_at_time_limit(name):
    """Reward 1 at every step, truncated after 5: 1 / (1 - 0.5) = 2; without bootstrap the mean is 1.6."""
    assert value(trained(name, "ProbeForeverOne-v0"), 0.0) == pytest.approx(2.0, abs=0.1)


# Agents for tests with hand-worked values


def dqn(num_actions=2, num_envs=1, **changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (num_actions,)), num_envs)
    return algos.load("dqn")(settings("dqn", **changes), spec, 1_000, 0, torch.device("cpu"))


def linear_q(weights):
    """Q(s, a) = weights[a] * s as parameters of a net without hidden layers."""
    column = torch.tensor(weights, dtype=torch.float32)[:, None]
    return {"q.0.weight": column, "q.0.bias": torch.zeros(len(weights))}


def two_transitions():
    """s=1, a=0, r=1, s'=2: the first is truncated, the second terminated."""
    ones = torch.ones(2)
    return Batch(
        obs=ones[:, None],
        action=torch.zeros(2, dtype=torch.int64),
        reward=ones,
        next_obs=2 * ones[:, None],
        terminated=torch.tensor([0.0, 1.0]),
        truncated=torch.tensor([1.0, 0.0]),
    )


def ppo(**changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (2,)), 2)
    return algos.load("ppo")(settings("ppo", **changes), spec, 1_000, 0, torch.device("cpu"))


def filled(algo, seed=0):
    """The agent with a full rollout of random steps; one in ten ends an episode."""
    rng = np.random.default_rng(seed)
    n = algo.spec.num_envs
    while not algo.rollout.full:
        obs, next_obs = rng.normal(size=(2, n, 1)).astype(np.float32)
        ends = rng.random((2, n)) < 0.1
        algo.observe(Transition(obs, algo.act(obs, 0), rng.normal(size=n), next_obs, *ends))
    return algo


def reinforce(**changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (2,)), 1)
    cpu = torch.device("cpu")
    return algos.load("reinforce")(settings("reinforce", **changes), spec, 1, 0, cpu)


class RecordedUpdates:
    """Replaces `learner.update`: keeps the inputs and learning rate of each call.

    With `result` the call returns it and changes nothing; otherwise the update takes place.
    """

    def __init__(self, monkeypatch, learner, result=None):
        self.calls, self.learning_rates = [], []
        self.update, self.result = learner.update, result
        monkeypatch.setattr(learner, "update", self)

    def __call__(self, *inputs, learning_rate):
        self.calls.append(inputs)
        self.learning_rates.append(learning_rate)
        if self.result is not None:
            return dict(self.result)
        return self.update(*inputs, learning_rate=learning_rate)


@pytest.mark.parametrize("name", STEPS)
def test_update_on_images_moves_convolutions(name):
    """Images are (C, H, W) uint8."""
    kind = ActionSpec("discrete", (), (3,))
    spec = EnvSpec((2, 36, 36), "uint8", kind, 1)
    changes = {"rollout_length": 8, "minibatch_size": 8} if name == "ppo" else {}
    if name == "reinforce":
        changes = {"episodes_per_update": 1}
    if name == "dqn":
        changes = {"learning_starts": 4, "batch_size": 4}
    algo = algos.load(name)(settings(name, **changes), spec, 100, 0, torch.device("cpu"))
    before = algo.learner.params["encoder.0.weight"].detach().clone()
    rng, no = np.random.default_rng(0), np.array([False])
    for step in range(1, 9):
        obs, next_obs = rng.integers(256, size=(2, 1, 2, 36, 36), dtype=np.uint8)
        end = np.array([step == 8])
        reward = rng.normal(size=1)
        algo.observe(Transition(obs, algo.act(obs, step), reward, next_obs, end, no))
        algo.update(step)
    assert not torch.equal(before, algo.learner.params["encoder.0.weight"])
