"""Proximal policy optimisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field

from rl_cli import functional, schedules
from rl_cli.actor_critic import ActorCritic
from rl_cli.algos.base import Algorithm
from rl_cli.buffers import RolloutBuffer
from rl_cli.config import AlgoConfig, Int, schema
from rl_cli.learner import Learner, averaged
from rl_cli.seeding import torch_generator
from rl_cli.types import Batch, EnvSpec, Metrics, Params, Rows


@schema
class PPOConfig(AlgoConfig):
    """Keys of `algo=ppo`."""

    rollout_length: Int = Field(ge=1, description="steps of each env between updates")
    num_epochs: Int = Field(ge=1, description="passes over a rollout")
    minibatch_size: Int = Field(ge=2, description="transitions of one gradient step")
    gae_lambda: float = Field(ge=0, le=1, description="lambda of the advantage estimate")
    normalize_advantage: bool = Field(description="to mean 0 and std 1 in each minibatch")
    clip_coef: float = Field(gt=0, description="bound on the change of the action's probability")
    anneal_clip_coef: bool = Field(description="decay clip_coef linearly to 0")
    clip_value_loss: bool = Field(description="bound the change of the value by clip_coef too")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    vf_coef: float = Field(ge=0, description="weight of the value loss")
    target_kl: float | None = Field(gt=0, description="end the epochs beyond this KL; null: never")
    log_std_init: float = Field(description="log std of continuous actions at first")


class Samples(NamedTuple):
    """A rollout's steps as the loss wants them."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B, *action_shape)
    old_log_prob: torch.Tensor  # (B,)
    advantage: torch.Tensor  # (B,)
    target: torch.Tensor  # (B,) of the value
    old_value: torch.Tensor  # (B,)


class PPO(Algorithm[PPOConfig]):
    """Proximal policy optimisation with a clipped objective.

    Schulman et al. 2017 (arXiv:1707.06347), Algorithm 1; the details are those of "The 37
    implementation details of PPO" (Huang et al. 2022), core and continuous, with the bootstrap at
    time limits that detail 5 leaves out.
    """

    Config = PPOConfig
    supports = ("discrete", "multidiscrete", "box")

    def __init__(
        self, cfg: PPOConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = ActorCritic(spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init)
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init")),
            self.loss,
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            device=device,
        )
        self.buffer = self.rollout = RolloutBuffer(cfg.rollout_length, spec, device)

    def planned_updates(self) -> int:
        rows = self.cfg.rollout_length * self.spec.num_envs
        minibatches = -(-rows // self.cfg.minibatch_size)
        return self.total_timesteps // rows * self.cfg.num_epochs * minibatches

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self.predict(obs, self.explore_rng)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return self.net.choose(self.learner, obs, rng)

    def update(self, step: int) -> Metrics | None:
        if not self.rollout.full:
            return None
        with torch.no_grad():
            samples = self.estimate(self.rollout.batch())
        self.rollout.clear()
        end = 0.0 if self.cfg.anneal_clip_coef else self.cfg.clip_coef
        begun = step - len(samples.advantage)  # so the first rollout has the full step size
        clip_coef = schedules.linear(self.cfg.clip_coef, end, self.total_timesteps, begun)
        learning_rate = self.learning_rate(begun)
        history: list[Metrics] = []
        for _ in range(self.cfg.num_epochs):
            history += [
                self.learner.step(Rows(samples, part), clip_coef, learning_rate=learning_rate)
                for part in self.minibatches(len(samples.advantage))
            ]
            if self.cfg.target_kl is not None and history[-1]["approx_kl"] > self.cfg.target_kl:
                break
        return averaged(history) | {
            "explained_variance": functional.explained_variance(samples.old_value, samples.target)
        }

    def estimate(self, batch: Batch) -> Samples:
        """Advantages and value targets of a rollout (T, N, ...), flattened to B = T * N rows."""
        steps, envs = batch.reward.shape
        flat = Batch(*(field.flatten(0, 1) for field in batch))
        net, params = self.net, self.learner.params
        features = net.encoder(params, flat.obs)
        log_prob = net.distribution.log_prob(params, net.actor(params, features), flat.action)
        value = net.critic(params, features).view(steps, envs)
        next_value = net.next_value(params, batch, value)
        advantage = functional.gae(
            batch.reward,
            value,
            next_value,
            batch.terminated,
            batch.truncated,
            self.cfg.gamma,
            self.cfg.gae_lambda,
        )
        target = (advantage + value).flatten()
        return Samples(
            flat.obs, flat.action, log_prob, advantage.flatten(), target, value.flatten()
        )

    def minibatches(self, rows: int) -> list[torch.Tensor]:
        """All rows once, shuffled, in parts as equal as can be of at most minibatch_size."""
        order = torch.from_numpy(self.sample_rng.permutation(rows))
        return list(order.tensor_split(-(-rows // self.cfg.minibatch_size)))

    def loss(
        self, params: Params, samples: Samples, clip_coef: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        """-L^CLIP + c_v L^VF - c_e S, the negative of eq. 9."""
        obs, action, old_log_prob, advantage, target, old_value = samples
        net, policy = self.net, self.net.distribution
        features = net.encoder(params, obs)
        out = net.actor(params, features)
        log_ratio = policy.log_prob(params, out, action) - old_log_prob  # (B,)
        if self.cfg.normalize_advantage:
            advantage = functional.standardise(advantage)
        policy_loss = -functional.clipped_surrogate(log_ratio, advantage, clip_coef)
        value = net.critic(params, features).squeeze(-1)  # (B,)
        error = (value - target).square()
        if self.cfg.clip_value_loss:
            near = old_value + (value - old_value).clamp(-clip_coef, clip_coef)
            error = torch.maximum(error, (near - target).square())
        value_loss = 0.5 * error.mean()
        entropy = policy.entropy(params, out).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - self.cfg.ent_coef * entropy
        outside = (log_ratio.detach().exp() - 1.0).abs() > clip_coef
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "approx_kl": functional.approx_kl(log_ratio.detach()),
            "clip_fraction": outside.float().mean(),
        }
