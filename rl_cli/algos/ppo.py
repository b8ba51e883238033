"""Proximal policy optimisation."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch

from rl_cli.algos import losses, returns
from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.buffers.rollout import filled_minibatches, make_rollout, minibatches
from rl_cli.config.ppo import PPOConfig
from rl_cli.core.seeding import torch_generator
from rl_cli.core.types import Batch, Details, EnvSpec, Metrics, Params, Rows, State
from rl_cli.engine.learner import Learner, joined
from rl_cli.models.actor_critic import ActorCritic


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
    time limits that detail 5 leaves out. `recompute_advantage`: Andrychowicz et al. 2021
    (arXiv:2006.05990), section 3.5.
    """

    Config = PPOConfig
    supports = ("discrete", "multidiscrete", "box")

    def __init__(
        self, cfg: PPOConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = net = self.network(cfg, spec)
        ratio = (cfg.vf_learning_rate or cfg.learning_rate) / cfg.learning_rate
        self.learner = Learner(
            net.init(torch_generator(seed, "init")),
            self.loss,
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            device=device,
            rate_factors=dict.fromkeys(net.critics_own(), ratio),
        )
        self.noise = net.held_noise(spec.num_envs, cfg.sde_sample_every)
        self.buffer = self.rollout = make_rollout(
            cfg.rollout_length, cfg.rollout_episodes, spec, device
        )

    @staticmethod
    def network(cfg: PPOConfig, spec: EnvSpec) -> ActorCritic:
        """Policy and value, without their parameters."""
        return ActorCritic(
            spec, cfg.hidden_sizes, cfg.activation, cfg.log_std_init,
            cfg.std, cfg.squash_actions, cfg.shared_network,
        )  # fmt: skip

    @classmethod
    def size(cls, cfg: PPOConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size()

    def planned_updates(self) -> int:
        cfg = self.cfg
        if cfg.rollout_length is None:  # every step is learned from, at most
            return self.total_timesteps * cfg.num_epochs // cfg.minibatch_size
        rows = cfg.rollout_length * self.spec.num_envs
        return self.total_timesteps // rows * cfg.num_epochs * -(-rows // cfg.minibatch_size)

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        if self.noise is None:
            return self.net.choose(self.learner, obs, self.explore_rng, quick=True)
        return self.net.explore(self.learner, obs, self.noise.at_step(len(obs), self.explore_rng))

    def native_spec(self) -> NativeSpec | None:
        return None if self.cfg.rollout_length is None else self.net.native_spec(self.learner)

    def next_update(self, step: int) -> int:
        if self.cfg.rollout_length is None:
            return step + 1
        return step + self.cfg.rollout_length * self.spec.num_envs - self.rollout.steps

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return self.net.choose(self.learner, obs, rng)

    def update(self, step: int) -> Metrics | None:
        if not self.rollout.full:
            return None
        cfg, batch = self.cfg, self.rollout.batch()
        begun = step - self.rollout.steps  # so the first rollout has the full step size
        coefs = (
            self.annealed(cfg.clip_coef, cfg.anneal_clip_coef, begun),
            self.annealed(cfg.ent_coef, cfg.anneal_ent_coef, begun),
        )
        with torch.no_grad():
            samples = first = self.estimate(batch)
        history: list[Metrics] = []
        looks = cfg.recompute_advantage or cfg.target_kl is not None  # at what an epoch has done
        for epochs in [1] * cfg.num_epochs if looks else [cfg.num_epochs]:
            if history and cfg.recompute_advantage:
                with torch.no_grad():
                    _, _, _, advantage, target, _ = self.estimate(batch)
                samples = first._replace(advantage=advantage, target=target)
            history += self.passes(samples, epochs, coefs, self.learning_rate(begun))
            if cfg.target_kl is not None and history[-1]["approx_kl"][-1] > cfg.target_kl:
                break
        self.rollout.clear()
        if self.noise is not None:
            self.noise.renew()
        explained = losses.explained_variance(first.old_value, first.target)
        return joined(history) | {"explained_variance": explained}

    def estimate(self, batch: Batch) -> Samples:
        """Advantages and value targets of a rollout (T, N, ...), flattened to B = T * N rows."""
        cfg = self.cfg
        often = cfg.rollout_episodes is None  # else no two rollouts are of a length
        log_prob, value, next_value = self.net.rate(self.learner, batch, often)
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
            advantage = losses.standardise(advantage)
        columns = (batch.obs, batch.action, log_prob, advantage, target, value)
        return Samples(*(column.flatten(0, 1) for column in columns))

    def passes(
        self, samples: Samples, epochs: int, coefs: tuple[float, float], rate: float
    ) -> list[Metrics]:
        """Some passes over a rollout; of episodes, whose number of steps differs, in steps of one shape."""
        size, rows, rng = self.cfg.minibatch_size, len(samples.advantage), self.sample_rng
        batches: list[Rows | Samples] = []
        if self.cfg.rollout_episodes is None:
            batches += [Rows(samples, part) for part in minibatches(rows, size, rng, epochs)]
        else:
            parts = (p for _ in range(epochs) for p in filled_minibatches(rows, size, rng))
            batches += [Samples(*(column[part] for column in samples)) for part in parts]
        return [self.learner.update(batch, *coefs, learning_rate=rate) for batch in batches]

    def loss(
        self, params: Params, samples: Samples, clip_coef: torch.Tensor, ent_coef: torch.Tensor
    ) -> tuple[torch.Tensor, Details]:
        """-L^CLIP + c_v L^VF - c_e S, the negative of eq. 9."""
        obs, action, old_log_prob, advantage, target, old_value = samples
        net, policy = self.net, self.net.distribution
        features = net.encoder(params, obs)
        out = net.actor(params, features)
        log_ratio = policy.log_prob(params, out, action) - old_log_prob  # (B,)
        if self.cfg.normalize_advantage == "minibatch":
            advantage = losses.standardise(advantage)
        policy_loss = -losses.clipped_surrogate(log_ratio, advantage, clip_coef)
        value = net.critic(params, features).squeeze(-1)  # (B,)
        error = (value - target).square()
        if self.cfg.clip_value_loss:
            near = old_value + (value - old_value).clamp(-clip_coef, clip_coef)
            error = torch.maximum(error, (near - target).square())
        value_loss = 0.5 * error.mean()
        entropy = policy.entropy(params, out).mean()
        loss = policy_loss + self.cfg.vf_coef * value_loss - ent_coef * entropy
        outside = (log_ratio.detach().exp() - 1.0).abs() > clip_coef
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "approx_kl": losses.approx_kl(log_ratio.detach()),
            "clip_fraction": outside.float().mean(),
        }

    def state_dict(self) -> State:
        noise = {} if self.noise is None else {"noise": self.noise.state_dict()}
        return {**super().state_dict(), **noise}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        if self.noise is not None:
            self.noise.load_state_dict(cast(State, state["noise"]))
