"""REINFORCE."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.algos import losses, returns
from rl_cli.algos.base import Algorithm
from rl_cli.algos.policies import StochasticPolicy
from rl_cli.buffers.rollout import EpisodeBuffer
from rl_cli.config.reinforce import ReinforceConfig
from rl_cli.core.fields import Fields
from rl_cli.core.seeding import torch_generator
from rl_cli.core.types import Batch, Details, EnvSpec, Metrics, Params, State
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.models.actor_critic import ActorCritic

MAX_RETURN = 3e38
"""Bound of the baseline in a loaded state: float32 holds it."""


class Reinforce(Algorithm[ReinforceConfig]):
    """Monte-Carlo policy gradient with reward-to-go.

    Williams 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning" (doi:10.1007/BF00992696), section 5; `baseline` is the reinforcement
    baseline b of eq. 2. `discount_weighting`: the factor gamma^t of Sutton & Barto 2018, section 13.3.
    Each batch of episodes serves one gradient step, because the gradient is on-policy.
    """

    Config = ReinforceConfig
    supports = ("discrete", "multidiscrete", "box")

    def __init__(
        self,
        cfg: ReinforceConfig,
        spec: EnvSpec,
        total_timesteps: int,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = self.network(cfg, spec)
        self.encoder_description = self.net.obs_encoder.description
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init"), with_critic=cfg.baseline == "value"),
            self.loss,
            optimizer=Adam(cfg.adam_eps),
            max_grad_norm=cfg.max_grad_norm,
            device=device,
        )
        self.policy = StochasticPolicy(self.net, self.learner)
        per_env = -(-cfg.episodes_per_update // spec.num_envs)
        self.buffer = self.episodes = EpisodeBuffer(per_env, spec, device)
        self.batch_start = 0  # env step at which the first of the collected episodes started
        # exponential moving sums of mean returns and of their weights, for baseline=mean
        self.return_sum = self.weight_sum = 0.0

    @staticmethod
    def network(cfg: ReinforceConfig, spec: EnvSpec) -> ActorCritic:
        """The policy and, for baseline=value, the value network, without their parameters."""
        return ActorCritic(
            spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init, encoder=cfg.encoder_choice
        )

    @classmethod
    def size(cls, cfg: ReinforceConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size(with_critic=cfg.baseline == "value")

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self.policy.sample(obs, self.explore_rng)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return self.policy.predict(obs, rng)

    def update(self, step: int) -> Metrics | None:
        if not self.episodes.full:
            return None
        episodes = self.episodes.episodes()
        self.episodes.clear()
        obs = torch.cat([e.obs for e in episodes])
        action = torch.cat([e.action for e in episodes])
        with torch.no_grad():
            returns = torch.cat([self.returns(e) for e in episodes])
        inputs = [obs, action, self.subtract_mean(returns)]
        if self.cfg.discount_weighting or self.cfg.sum_over_steps:
            inputs.append(self.step_weights(episodes))
        learning_rate = self.learning_rate(self.batch_start)
        self.batch_start = step
        return self.learner.update(*inputs, learning_rate=learning_rate)

    def returns(self, episode: Batch) -> torch.Tensor:
        """Reward-to-go G_t of one episode (T, ...) -> (T,).

        At a time limit `bootstrap_truncated` adds the discounted V of the last observation. Otherwise
        the return ends there, as in the paper.
        """
        tail, cut = 0.0, bool(episode.truncated[-1] and not episode.terminated[-1])
        if cut and self.cfg.bootstrap_truncated:
            tail = self.net.value(self.learner.params, episode.next_obs[-1:]).item()
        return returns.discounted_returns(episode.reward, self.cfg.gamma, tail)

    def subtract_mean(self, returns: torch.Tensor) -> torch.Tensor:
        """With baseline=mean, subtract the moving average of earlier mean returns. (B,) -> (B,).

        The average is 0 at the first update.
        """
        if self.cfg.baseline != "mean":
            return returns
        baseline = self.return_sum / self.weight_sum if self.weight_sum else 0.0
        decay = self.cfg.baseline_decay
        self.return_sum = decay * self.return_sum + (1 - decay) * returns.mean().item()
        self.weight_sum = decay * self.weight_sum + (1 - decay)
        return returns - baseline

    def step_weights(self, episodes: list[Batch]) -> torch.Tensor:
        """Weight of each step in the mean over all B steps of the episodes. -> (B,)."""
        lengths = [len(e.reward) for e in episodes]
        gamma = self.cfg.gamma if self.cfg.discount_weighting else 1.0
        weights = [gamma ** torch.arange(length, device=self.device) for length in lengths]
        mean_length = sum(lengths) / len(lengths) if self.cfg.sum_over_steps else 1.0
        return torch.cat(weights) * mean_length

    def loss(
        self,
        params: Params,
        obs: torch.Tensor,
        action: torch.Tensor,
        returns: torch.Tensor,
        step_weight: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Details]:
        """-E[(G_t - b(s_t)) log pi(a_t | s_t)], whose gradient is eq. 2. Inputs (B, ...)."""
        net, policy = self.net, self.net.distribution
        features = net.encoder(params, obs)
        out = net.actor(params, features)
        log_prob = policy.log_prob(params, out, action)  # (B,)
        entropy = policy.entropy(params, out).mean()
        weight, value_loss = returns, torch.zeros((), device=returns.device)
        if self.cfg.baseline == "value":
            value = net.critic(params, features).squeeze(-1)  # (B,)
            value_loss = (value - returns).square().mean()
            weight = returns - value.detach()
        if self.cfg.normalize_returns:
            weight = losses.standardize(weight)
        if step_weight is not None:
            weight = weight * step_weight
        policy_loss = -(weight * log_prob).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - self.cfg.ent_coef * entropy
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
        }

    def state_dict(self) -> State:
        own = {"begun": self.batch_start, "mean": self.return_sum, "seen": self.weight_sum}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        fields = Fields(state)
        self.batch_start = fields.integer("begun", 0, self.total_timesteps)
        self.weight_sum = fields.number("seen", 0.0, 1.0 + 1e-9, default=0.0)
        most = self.weight_sum * MAX_RETURN  # so that their quotient, the baseline, is finite
        self.return_sum = fields.number("mean", -most, most, default=0.0)
