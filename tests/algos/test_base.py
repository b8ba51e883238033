"""The interface of an algorithm: what a subclass must define, and what it inherits."""

import numpy as np
import pytest
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.algos.policies import StochasticPolicy
from rl_cli.buffers.rollout import RolloutBuffer
from rl_cli.config.reinforce import ReinforceConfig
from rl_cli.core.seeding import env_seeds, torch_generator
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.envs.vector import VectorEnv
from rl_cli.models.actor_critic import ActorCritic
from tests.algos.test_algorithms import env_config, settings
from tests.buffers.test_replay import through_a_checkpoint


class Bandit(Algorithm[ReinforceConfig]):
    """REINFORCE for one-step episodes, with nothing but the required methods."""

    Config = ReinforceConfig
    supports = ("discrete",)

    def __init__(self, cfg, spec, total_timesteps, seed, device):
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = ActorCritic(spec, (8,), "tanh", 0.0)
        params = self.net.init(torch_generator(seed, "init"), with_critic=False)
        self.learner = Learner(
            params, self.loss, optimizer=Adam(1e-8), max_grad_norm=None, device=torch.device("cpu")
        )
        self.policy = StochasticPolicy(self.net, self.learner)
        self.buffer = RolloutBuffer(8, spec, device)

    def act(self, obs, step):
        return self.policy.sample(obs, self.explore_rng)

    def predict(self, obs, rng):
        return self.policy.predict(obs, rng)

    def update(self, step):
        if not self.buffer.full:
            return None
        batch = self.buffer.batch()
        self.buffer.clear()
        columns = (batch.obs, batch.action, batch.reward)
        return self.learner.update(*(c.flatten(0, 1) for c in columns), learning_rate=0.02)

    def loss(self, params, obs, action, reward):
        out = self.net.actor(params, obs)
        return -(reward * self.net.distribution.log_prob(params, out, action)).mean(), {}


def run_loop(algo, envs, begin, end):
    """The eager training loop, from env step `begin` to `end`."""
    obs = envs.reset()
    for step in range(begin, end, envs.num_envs):
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        algo.update(step + envs.num_envs)


def make_bandit():
    envs = VectorEnv(env_config("ProbeActionReward-v0", num_envs=2), env_seeds(0, 2))
    cfg = settings("reinforce")
    return Bandit(cfg, envs.spec, 1_000, 0, torch.device("cpu")), envs


def test_algorithm_with_required_methods_only_trains():
    algo, envs = make_bandit()
    run_loop(algo, envs, 0, 1_600)
    assert algo.predict(np.zeros((1, 1), np.float32), None).tolist() == [1]
    assert algo.native_spec() is None
    assert algo.planned_updates() == 0


def test_algorithm_with_required_methods_only_resumes_exactly():
    whole, envs = make_bandit()
    resumed, other_envs = make_bandit()
    run_loop(whole, envs, 0, 200)
    resumed.load_policy(whole.policy_state())
    resumed.load_state_dict(through_a_checkpoint(whole.state_dict()))
    other_envs.load_state_dict(envs.state_dict())
    run_loop(whole, envs, 200, 400)
    run_loop(resumed, other_envs, 200, 400)
    assert torch.equal(whole.learner.flat, resumed.learner.flat)


@pytest.mark.parametrize("name", ["act", "predict", "update"])
def test_required_methods_are_abstract(name):
    incomplete = type("Incomplete", (Bandit,), {name: getattr(Algorithm, name)})
    with pytest.raises(TypeError, match=name):
        incomplete(settings("reinforce"), None, 1, 0, torch.device("cpu"))
