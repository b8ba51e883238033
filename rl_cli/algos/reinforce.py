"""REINFORCE."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from rl_cli.algos import losses, returns
from rl_cli.algos.base import Algorithm
from rl_cli.buffers.rollout import EpisodeBuffer
from rl_cli.config.reinforce import ReinforceConfig
from rl_cli.core.seeding import torch_generator
from rl_cli.core.types import Batch, Details, EnvSpec, Metrics, Params, State
from rl_cli.engine.learner import Learner
from rl_cli.models.actor_critic import ActorCritic


class Reinforce(Algorithm[ReinforceConfig]):
    """Monte-Carlo policy gradient with reward-to-go.

    Williams 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning" (doi:10.1007/BF00992696), section 5; `baseline` is the reinforcement
    baseline b of his eq. 2. `discount_weighting`: the gamma^t of Sutton & Barto 2018, section 13.3.
    One gradient step per batch of episodes: a second would be that of a policy that did not act.
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
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init"), with_critic=cfg.baseline == "value"),
            self.loss,
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            device=device,
        )
        per_env = -(-cfg.episodes_per_update // spec.num_envs)
        self.buffer = self.episodes = EpisodeBuffer(per_env, spec, device)
        self.begun = 0  # step at which the episodes being gathered began
        self.mean = self.seen = 0.0  # decaying sum of mean returns, and of the shares in it

    @staticmethod
    def network(cfg: ReinforceConfig, spec: EnvSpec) -> ActorCritic:
        """The policy and, for baseline=value, V, without their parameters."""
        return ActorCritic(spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init)

    @classmethod
    def size(cls, cfg: ReinforceConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size(with_critic=cfg.baseline == "value")

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
        inputs = [obs, action, self.less_the_mean(returns)]
        if self.cfg.discount_weighting or self.cfg.sum_over_steps:
            inputs.append(self.importance(episodes))
        rate = self.learning_rate(self.begun)  # so the first batch has the full step size
        self.begun = step
        return self.learner.update(*inputs, learning_rate=rate)

    def returns(self, episode: Batch) -> torch.Tensor:
        """Reward-to-go of one episode (T, ...) -> (T,).

        A time limit cuts the return short. With `bootstrap_truncated` the value stands in for what
        the limit cut off; else the return ends there, as in the paper.
        """
        tail, cut = 0.0, bool(episode.truncated[-1] and not episode.terminated[-1])
        if cut and self.cfg.bootstrap_truncated:
            tail = self.net.value(self.learner.params, episode.next_obs[-1:]).item()
        return returns.discounted_returns(episode.reward, self.cfg.gamma, tail)

    def less_the_mean(self, returns: torch.Tensor) -> torch.Tensor:
        """With baseline=mean less the mean of earlier updates' returns, 0 before the first. (B,)."""
        if self.cfg.baseline != "mean":
            return returns
        baseline = self.mean / self.seen if self.seen else 0.0
        decay = self.cfg.baseline_decay
        self.mean = decay * self.mean + (1 - decay) * returns.mean().item()
        self.seen = decay * self.seen + (1 - decay)
        return returns - baseline

    def importance(self, episodes: list[Batch]) -> torch.Tensor:
        """How much each step counts in the mean over all of them. -> (B,)."""
        lengths = [len(e.reward) for e in episodes]
        gamma = self.cfg.gamma if self.cfg.discount_weighting else 1.0
        weights = [gamma ** torch.arange(length, device=self.device) for length in lengths]
        share = sum(lengths) / len(lengths) if self.cfg.sum_over_steps else 1.0
        return torch.cat(weights) * share

    def loss(
        self,
        params: Params,
        obs: torch.Tensor,
        action: torch.Tensor,
        returns: torch.Tensor,
        importance: torch.Tensor | None = None,
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
            value_loss = 0.5 * (value - returns).square().mean()
            weight = returns - value.detach()
        if self.cfg.normalize_returns:
            weight = losses.standardise(weight)
        if importance is not None:
            weight = weight * importance
        policy_loss = -(weight * log_prob).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - self.cfg.ent_coef * entropy
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
        }

    def state_dict(self) -> State:
        own = {"begun": self.begun, "mean": self.mean, "seen": self.seen}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.begun = cast(int, state["begun"])
        self.mean, self.seen = (cast(float, state.get(key, 0.0)) for key in ("mean", "seen"))
