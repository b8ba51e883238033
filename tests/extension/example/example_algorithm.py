"""One-step Q-learning on the last transition (Watkins 1989), as an algorithm of another package."""

from __future__ import annotations

import numpy as np
import torch
from example_buffer import LastTransition
from pydantic import Field

from rl_cli.algos.base import Algorithm
from rl_cli.algos.exploration import epsilon_greedy
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.schema import schema
from rl_cli.core.seeding import torch_generator
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.models.networks import MLP


@schema
class QLearningConfig(AlgoConfig):
    epsilon: float = Field(ge=0, le=1, description="probability of a random action")


class QLearning(Algorithm[QLearningConfig]):
    Config = QLearningConfig
    supports = ("discrete",)

    def __init__(self, cfg, spec, total_timesteps, seed, device):
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.num_actions = spec.action.sizes[0]
        (inputs,) = spec.obs_shape
        self.q = MLP("q", inputs, cfg.hidden_sizes, self.num_actions, cfg.activation)
        self.buffer = LastTransition()
        self.learner = Learner(
            self.q.init(torch_generator(seed, "init")),
            self.loss,
            optimizer=Adam(cfg.adam_eps),
            max_grad_norm=cfg.max_grad_norm,
            device=device,
        )

    def act(self, obs, step):
        draw = lambda: self.predict(obs, None)  # noqa: E731
        return epsilon_greedy(draw, len(obs), self.num_actions, self.cfg.epsilon, self.explore_rng)

    def predict(self, obs, rng):
        with torch.no_grad():
            values = self.q(self.learner.params, torch.from_numpy(np.asarray(obs)))
        return values.argmax(1).numpy()

    def update(self, step):
        names = ("obs", "action", "reward", "next_obs", "terminated")
        columns = [self.buffer.columns[name] for name in names]
        return self.learner.update(*columns, learning_rate=self.cfg.learning_rate)

    def loss(self, params, obs, action, reward, next_obs, terminated):
        """(r + gamma max_a' Q(s', a') - Q(s, a))^2, without gradient through the target."""
        value = self.q(params, obs).gather(1, action[:, None]).squeeze(1)
        bootstrap = self.q(params, next_obs).max(1).values * (1 - terminated.float())
        error = (reward + self.cfg.gamma * bootstrap).detach() - value
        return error.square().mean(), {"q": value.detach().mean()}
