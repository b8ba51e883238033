"""Soft actor-critic of another package: two critics, their targets, a temperature, in one compiled step."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field

from rl_cli.algos.base import Algorithm
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.schema import Int, schema
from rl_cli.core.seeding import torch_generator
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.models.networks import MLP, Identity

LOG_STD = -5.0, 2.0


@schema
class SACConfig(AlgoConfig):
    buffer_size: Int = Field(ge=1, description="transitions in the replay buffer")
    batch_size: Int = Field(ge=1, description="transitions of a gradient step")
    learning_starts: Int = Field(
        ge=0, description="env steps of random actions before the first update"
    )
    tau: float = Field(gt=0, le=1, description="part of the way that targets move with each update")
    actor_every: Int = Field(ge=1, description="updates of the critics for one of the actor")
    alpha_init: float = Field(gt=0, description="initial temperature")


class SAC(Algorithm[SACConfig]):
    """Soft actor-critic with a learned temperature (Haarnoja et al. 2018, arXiv:1812.05905)."""

    Config = SACConfig
    supports = ("box",)

    def __init__(self, cfg, spec, total_timesteps, seed, device):
        super().__init__(cfg, spec, total_timesteps, seed, device)
        (inputs,), self.size_of_action = spec.obs_shape, math.prod(spec.action.shape)
        low, high = np.array(spec.action.low, np.float32), np.array(spec.action.high, np.float32)
        self.center, self.half = (high + low) / 2, (high - low) / 2
        sizes, outputs = (cfg.hidden_sizes, 2 * self.size_of_action), inputs + self.size_of_action
        self.encoder, self.actor = (
            Identity(spec.obs_shape),
            MLP("actor", inputs, *sizes, cfg.activation),
        )
        self.critics = [
            MLP(name, outputs, cfg.hidden_sizes, 1, cfg.activation) for name in ("q1", "q2")
        ]
        generator = torch_generator(seed, "init")
        actor = self.actor.init(generator)
        params = actor | self.critics[0].init(generator) | self.critics[1].init(generator)
        self.learner = Learner(
            params | {"log_alpha": torch.tensor(math.log(cfg.alpha_init))},
            self.loss,
            optimizer=Adam(cfg.adam_eps),
            max_grad_norm=cfg.max_grad_norm,
            device=device,
            with_target=True,
            intervals=dict.fromkeys(actor, cfg.actor_every),
        )
        self.buffer = ReplayBuffer(cfg.buffer_size, spec, device)

    def act(self, obs, step):
        if step < self.cfg.learning_starts:
            shape = (len(obs), *self.spec.action.shape)
            point = self.explore_rng.uniform(-1, 1, shape).astype(np.float32)
            return self.center + self.half * point
        return self.predict(obs, self.explore_rng)

    def predict(self, obs, rng):
        mean, log_std = np.split(self.learner.forward(self.encoder, self.actor, obs), 2, axis=1)
        if rng is not None:
            noise = rng.standard_normal(mean.shape, np.float32)
            mean = mean + np.exp(np.clip(log_std, *LOG_STD)) * noise
        return self.center + self.half * np.tanh(mean).reshape(len(obs), *self.spec.action.shape)

    def update(self, step):
        cfg = self.cfg
        if step <= cfg.learning_starts or self.buffer.size < cfg.batch_size:
            return None
        rows = self.buffer.sample(cfg.batch_size, self.sample_rng)
        shape = (2, cfg.batch_size, self.size_of_action)
        noise = torch.from_numpy(self.sample_rng.standard_normal(shape, np.float32))
        metrics = self.learner.update(
            rows, noise.to(self.device), learning_rate=self.learning_rate(step)
        )
        self.learner.update_target(cfg.tau)
        return metrics

    def planned_updates(self):
        return max(self.total_timesteps - self.cfg.learning_starts, 0) // self.spec.num_envs

    def sample(self, params, obs, noise):
        """a = tanh(u), u ~ pi(.|s), and log pi(a|s) (appendix C). -> (B, A), (B,)."""
        mean, log_std = self.actor(params, obs).chunk(2, -1)
        log_std = log_std.clamp(*LOG_STD)
        u = mean + log_std.exp() * noise
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        slope = 2 * (math.log(2) - u - torch.nn.functional.softplus(-2 * u))  # log(1 - tanh(u)^2)
        return torch.tanh(u), (log_prob - slope).sum(-1)

    def q(self, params, obs, action):
        """Both critics. -> (B,), (B,)."""
        x = torch.cat([obs, action], -1)
        return [critic(params, x).squeeze(-1) for critic in self.critics]

    def loss(self, params, target, batch, noise):
        """Equations 5, 7 and 18. Each term has gradients for its own parameters alone."""
        alpha = params["log_alpha"].exp().detach()
        with torch.no_grad():
            next_action, next_log_prob = self.sample(params, batch.next_obs, noise[0])
            soft = (
                torch.minimum(*self.q(target, batch.next_obs, next_action)) - alpha * next_log_prob
            )
            y = batch.reward + self.cfg.gamma * (1 - batch.terminated) * soft
            center, half = (torch.as_tensor(x, device=y.device) for x in (self.center, self.half))
            taken = (batch.action.reshape(len(y), -1) - center.flatten()) / half.flatten()
        q1, q2 = self.q(params, batch.obs, taken)
        critic_loss = 0.5 * ((q1 - y).square() + (q2 - y).square()).mean()
        action, log_prob = self.sample(params, batch.obs, noise[1])
        fixed = {name: value.detach() for name, value in params.items()}
        actor_loss = (alpha * log_prob - torch.minimum(*self.q(fixed, batch.obs, action))).mean()
        entropy = -log_prob.mean().detach()
        alpha_loss = params["log_alpha"] * (entropy + self.size_of_action)  # target: -A nats
        metrics = {"q_mean": q1.mean().detach(), "entropy": entropy, "alpha": alpha}
        return critic_loss + actor_loss + alpha_loss, metrics
