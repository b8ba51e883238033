"""REINFORCE."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from pydantic import Field

from rl_cli import functional
from rl_cli.actor_critic import ActorCritic
from rl_cli.algos.base import Algorithm
from rl_cli.buffers import EpisodeBuffer
from rl_cli.config import AlgoConfig, Int, schema
from rl_cli.learner import Learner
from rl_cli.seeding import torch_generator
from rl_cli.types import Batch, EnvSpec, Metrics, Params, State


@schema
class ReinforceConfig(AlgoConfig):
    """Keys of `algo=reinforce`."""

    episodes_per_update: Int = Field(
        ge=1, description="whole episodes of one update, shared out evenly over the envs"
    )
    normalize_returns: bool = Field(
        description="weights (returns, or returns minus baseline) to mean 0 and std 1"
    )
    baseline: bool = Field(description="subtract a learned value of the state")
    vf_coef: float = Field(ge=0, description="weight of the baseline's loss")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    log_std_init: float = Field(description="log std of continuous actions at first")


class Reinforce(Algorithm[ReinforceConfig]):
    """Monte-Carlo policy gradient with reward-to-go.

    Williams 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning" (doi:10.1007/BF00992696), section 5; with `baseline` the reinforcement
    baseline b of his eq. 2 is a learned V(s). One gradient step per batch of episodes: a second
    would be that of a policy that did not act.
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
        self.net = ActorCritic(spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init)
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init"), with_critic=cfg.baseline),
            self.loss,
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            device=device,
        )
        per_env = -(-cfg.episodes_per_update // spec.num_envs)
        self.buffer = self.episodes = EpisodeBuffer(per_env, spec, device)
        self.begun = 0  # step at which the episodes being gathered began

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self.predict(obs, self.explore_rng)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return self.net.choose(self.learner, obs, rng)

    def update(self, step: int) -> Metrics | None:
        if not self.episodes.full:
            return None
        episodes = self.episodes.episodes()
        self.episodes.clear()
        obs = torch.cat([e.obs for e in episodes])
        action = torch.cat([e.action for e in episodes])
        with torch.no_grad():
            returns = torch.cat([self.returns(e) for e in episodes])
        rate = self.learning_rate(self.begun)  # so the first batch has the full step size
        self.begun = step
        return self.learner.step(obs, action, returns, learning_rate=rate)

    def returns(self, episode: Batch) -> torch.Tensor:
        """Reward-to-go of one episode (T, ...) -> (T,).

        A time limit cuts the return short. With a baseline its value stands in for what the limit
        cut off; without one nothing is known of it and the return ends there, as in the paper.
        """
        tail = 0.0
        if self.cfg.baseline and episode.truncated[-1] and not episode.terminated[-1]:
            tail = self.net.value(self.learner.params, episode.next_obs[-1:]).item()
        return functional.discounted_returns(episode.reward, self.cfg.gamma, tail)

    def loss(
        self, params: Params, obs: torch.Tensor, action: torch.Tensor, returns: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        """-E[(G_t - b(s_t)) log pi(a_t | s_t)], whose gradient is eq. 2. Inputs (B, ...)."""
        net, policy = self.net, self.net.distribution
        features = net.encoder(params, obs)
        out = net.actor(params, features)
        log_prob = policy.log_prob(params, out, action)  # (B,)
        entropy = policy.entropy(params, out).mean()
        weight, value_loss = returns, torch.zeros((), device=returns.device)
        if self.cfg.baseline:
            value = net.critic(params, features).squeeze(-1)  # (B,)
            value_loss = 0.5 * (value - returns).square().mean()
            weight = returns - value.detach()
        if self.cfg.normalize_returns:
            weight = functional.standardise(weight)
        policy_loss = -(weight * log_prob).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - self.cfg.ent_coef * entropy
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
        }

    def state_dict(self) -> State:
        return {**super().state_dict(), "begun": self.begun}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.begun = cast(int, state["begun"])
