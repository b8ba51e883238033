"""Proximal policy optimization."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch

from rl_cli.algos import losses, returns
from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.algos.policies import StochasticPolicy
from rl_cli.buffers.rollout import filled_minibatches, make_rollout, minibatches
from rl_cli.config.ppo import PPOConfig
from rl_cli.core.fields import Fields
from rl_cli.core.schedules import linear
from rl_cli.core.seeding import torch_generator
from rl_cli.core.types import Batch, Details, EnvSpec, Metrics, Params, Rows, State
from rl_cli.engine.functions import joined
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.models.actor_critic import ActorCritic
from rl_cli.models.gaussians import LOG_STD


class Samples(NamedTuple):
    """The steps of a rollout, as inputs of the loss."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B, *action_shape)
    old_log_prob: torch.Tensor  # (B,)
    advantage: torch.Tensor  # (B,)
    target: torch.Tensor  # (B,) value target
    old_value: torch.Tensor  # (B,)


class PPO(Algorithm[PPOConfig]):
    """Proximal policy optimization with the clipped objective.

    Schulman et al. 2017 (arXiv:1707.06347), Algorithm 1. The details are those of "The 37
    implementation details of PPO" (Huang et al. 2022), core and continuous, and in addition a value
    bootstrap at time limits, which detail 5 leaves out. `recompute_advantage`: Andrychowicz et al. 2021
    (arXiv:2006.05990), section 3.5.
    """

    Config = PPOConfig
    supports = ("discrete", "multidiscrete", "box")

    def __init__(
        self, cfg: PPOConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = net = self.network(cfg, spec)
        self.encoder_description = net.obs_encoder.description
        ratio = (cfg.vf_learning_rate or cfg.learning_rate) / cfg.learning_rate
        self.learner = Learner(
            net.init(torch_generator(seed, "init")),
            self.loss,
            optimizer=Adam(cfg.adam_eps),
            max_grad_norm=cfg.max_grad_norm,
            device=device,
            rate_factors=dict.fromkeys(net.critic_parameters(), ratio),
        )
        self.policy = StochasticPolicy(net, self.learner)
        self.noise = self.policy.make_noise(spec.num_envs, cfg.sde_sample_every)
        self.buffer = self.rollout = make_rollout(
            cfg.rollout_length, cfg.rollout_episodes, spec, device
        )

    @staticmethod
    def network(cfg: PPOConfig, spec: EnvSpec) -> ActorCritic:
        """Policy and value network, without their parameters."""
        return ActorCritic(
            spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init,
            cfg.std, cfg.squash_actions, cfg.shared_network, cfg.encoder_choice,
        )  # fmt: skip

    @classmethod
    def size(cls, cfg: PPOConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size()

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        rng = self.explore_rng
        if self.noise is None:
            return self.policy.sample(obs, rng, native=True)
        return self.policy.sample_with_noise(obs, self.noise.at_step(len(obs), rng))

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return self.policy.predict(obs, rng)

    def update(self, step: int) -> Metrics | None:
        if not self.rollout.full:
            return None
        batch, start = self.rollout.batch(), step - self.rollout.steps
        metrics = self._learn(batch, start)  # annealed by the step at which the rollout started
        self.rollout.clear()
        if self.cfg.std == "annealed":
            self._anneal_std(step)
        if self.noise is not None:
            self.noise.reset()
        return metrics

    def _learn(self, batch: Batch, step: int) -> Metrics:
        """All epochs on one rollout. -> metrics of K updates, (K,) each."""
        cfg = self.cfg
        coefs = (
            self.annealed(cfg.clip_coef, cfg.anneal_clip_coef, step),
            self.annealed(cfg.ent_coef, cfg.anneal_ent_coef, step),
        )
        samples = first = self.estimate(batch)
        history: list[Metrics] = []
        one_by_one = cfg.recompute_advantage or cfg.target_kl is not None
        for epochs in [1] * cfg.num_epochs if one_by_one else [cfg.num_epochs]:
            if history and cfg.recompute_advantage:
                now = self.estimate(batch)
                samples = first._replace(advantage=now.advantage, target=now.target)
            history += self.run_epochs(samples, epochs, coefs, self.learning_rate(step))
            if cfg.target_kl is not None and history[-1]["approx_kl"][-1] > cfg.target_kl:
                break
        explained = losses.explained_variance(first.old_value, first.target)
        return joined(history) | {"explained_variance": explained}

    @torch.no_grad()
    def _anneal_std(self, step: int) -> None:
        """Set the std of the rollout that starts at `step`."""
        cfg = self.cfg
        log_std = linear(cfg.log_std_init, cfg.log_std_final, self.total_timesteps, step)
        if LOG_STD in self.learner.params:  # discrete actions have none
            self.learner.params[LOG_STD].fill_(log_std)

    @torch.no_grad()
    def estimate(self, batch: Batch) -> Samples:
        """Advantages and value targets of a rollout (T, N, ...), flattened to B = T * N rows."""
        cfg = self.cfg
        same_shape = cfg.rollout_episodes is None
        log_prob, value, next_value = self.policy.evaluate(batch, same_shape)
        reward, terminated, truncated = batch.reward, batch.terminated, batch.truncated
        if not cfg.bootstrap_truncated:
            terminated = torch.maximum(terminated, truncated)
        if cfg.advantage == "gae":
            ends = (terminated, truncated, cfg.gamma, cfg.gae_lambda)
            advantage = returns.gae(reward, value, next_value, *ends)
        else:
            to_go = returns.returns_to_go(reward, next_value, terminated, truncated, cfg.gamma)
            advantage = to_go - value
        target = advantage + value
        if cfg.normalize_advantage == "rollout":
            advantage = losses.standardize(advantage)
        columns = (batch.obs, batch.action, log_prob, advantage, target, value)
        return Samples(*(column.flatten(0, 1) for column in columns))

    def run_epochs(
        self, samples: Samples, epochs: int, coefs: tuple[float, float], learning_rate: float
    ) -> list[Metrics]:
        """Gradient steps on shuffled minibatches; each epoch uses every row.

        Rollouts of whole episodes differ in length: their last minibatch is filled up with rows of the
        same epoch, so that all minibatches have one shape and the step is compiled once. A single row is
        not repeated: equal advantages are normalized to 0.
        """
        rows, rng = len(samples.advantage), self.sample_rng
        size = self.cfg.minibatch_size if rows > 1 else 1
        batches: list[Rows | Samples] = []
        if self.cfg.rollout_episodes is None:
            batches += [Rows(samples, part) for part in minibatches(rows, size, rng, epochs)]
        else:
            parts = (p for _ in range(epochs) for p in filled_minibatches(rows, size, rng))
            batches += [Samples(*(column[part] for column in samples)) for part in parts]
        return [self.learner.update(b, *coefs, learning_rate=learning_rate) for b in batches]

    def loss(
        self, params: Params, samples: Samples, clip_coef: torch.Tensor, ent_coef: torch.Tensor
    ) -> tuple[torch.Tensor, Details]:
        """-L^CLIP + c_v L^VF - c_e S, the negative of eq. 9; L^VF is the mean squared error."""
        obs, action, old_log_prob, advantage, target, old_value = samples
        net, policy = self.net, self.net.distribution
        features = net.encoder(params, obs)
        out = net.actor(params, features)
        log_ratio = policy.log_prob(params, out, action) - old_log_prob  # (B,)
        if self.cfg.normalize_advantage == "minibatch":
            advantage = losses.standardize(advantage)
        policy_loss = -losses.clipped_surrogate(log_ratio, advantage, clip_coef)
        value = net.critic(params, features).squeeze(-1)  # (B,)
        squared_error = (value - target).square()
        if self.cfg.clip_value_loss:
            clipped = old_value + (value - old_value).clamp(-clip_coef, clip_coef)
            squared_error = torch.maximum(squared_error, (clipped - target).square())
        value_loss = squared_error.mean()
        entropy = policy.entropy(params, out).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - ent_coef * entropy
        clipped_ratio = (log_ratio.detach().exp() - 1.0).abs() > clip_coef
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "approx_kl": losses.approx_kl(log_ratio.detach()),
            "clip_fraction": clipped_ratio.float().mean(),
        }

    def state_dict(self) -> State:
        noise = {} if self.noise is None else {"noise": self.noise.state_dict()}
        return {**super().state_dict(), **noise}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        if self.noise is not None:
            self.noise.load_state_dict(Fields(state).mapping("noise"))

    # What follows only makes training faster.

    def planned_updates(self) -> int:
        cfg = self.cfg
        if cfg.rollout_length is None:  # an upper bound: every step is in a minibatch
            return self.total_timesteps * cfg.num_epochs // cfg.minibatch_size
        rows = cfg.rollout_length * self.spec.num_envs
        return self.total_timesteps // rows * cfg.num_epochs * -(-rows // cfg.minibatch_size)

    def native_spec(self) -> NativeSpec | None:
        whole_episodes = self.cfg.rollout_length is None
        return None if whole_episodes else self.policy.native_spec(self._next_update)

    def _next_update(self, step: int) -> int:
        """Env step at which the rollout is full."""
        length = cast(int, self.cfg.rollout_length)
        return step + length * self.spec.num_envs - self.rollout.steps
