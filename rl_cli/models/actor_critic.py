"""A stochastic policy and the value of states, as pure functions of named parameters."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.algos.base import NativeSpec
from rl_cli.algos.exploration import HeldNoise
from rl_cli.config.ppo import Std
from rl_cli.core.types import Batch, EnvSpec, Params
from rl_cli.engine.forward import choices, outputs
from rl_cli.engine.learner import Learner
from rl_cli.models.action_distributions import make_distribution
from rl_cli.models.gaussians import GSDE, Gaussian
from rl_cli.models.networks import MLP, Encoder, Identity, LatentMLP, Trunk, make_encoder


class ActorCritic:
    """Two separate MLPs on vectors, two heads on shared convolutions for pixels.

    `actor` and `critic` read features, `distribution` reads the actor's output; `critic` may be
    left out of `init` by algorithms that need no value.

    Args:
        std, squash: see `distributions`.
        shared: the hidden layers belong to both; actor and critic are their last layers.

    """

    def __init__(
        self,
        spec: EnvSpec,
        hidden_sizes: tuple[int, ...],
        activation: str,
        log_std_init: float,
        std: Std = "learned",
        squash: bool = False,
        shared: bool = False,
    ) -> None:
        self.eyes = make_encoder(spec.obs_shape)
        self.encoder: Encoder = self.eyes
        trunk = Trunk(self.eyes, hidden_sizes, activation) if shared else None
        if trunk is not None:
            self.encoder, hidden_sizes = trunk, ()
        features = self.encoder.features
        latent = hidden_sizes[-1] if hidden_sizes else features
        self.distribution = make_distribution(spec.action, log_std_init, std, squash, latent)
        self.one_choice = spec.action.kind == "discrete"
        self.own = tuple(self.distribution.init())  # parameters beside the networks'
        kind = LatentMLP if self.distribution.latent else MLP
        self.actor = kind("actor", features, hidden_sizes, self.distribution.outputs, activation)
        self.critic = MLP("critic", features, hidden_sizes, 1, activation)
        # acting goes from the eyes on, in as few calls as can be
        self.policy = self.actor if trunk is None else trunk.before(self.actor)

    def init(self, generator: torch.Generator, with_critic: bool = True) -> Params:
        """Orthogonal weights; the last layers have gain 0.01 (policy) and 1 (value)."""
        params = self.encoder.init(generator) | self.actor.init(generator, output_gain=0.01)
        if with_critic:
            params |= self.critic.init(generator, output_gain=1.0)
        return params | self.distribution.init()

    def size(self, with_critic: bool = True) -> int:
        """Numbers that `init` makes."""
        own = sum(value.numel() for value in self.distribution.init().values())
        critic = self.critic.size if with_critic else 0
        return self.encoder.size + self.actor.size + critic + own

    def critics_own(self) -> list[str]:
        """Names of the parameters that are the critic's alone."""
        return [name for layer in self.critic.layers for name in layer]

    def value(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """V(s). (B, *obs_shape) -> (B,)."""
        return self.critic(params, self.encoder(params, obs)).squeeze(-1)

    def rate(self, learner: Learner, batch: Batch, often: bool) -> tuple[torch.Tensor, ...]:
        """Log pi(a | s), V(s) and V(s') of a rollout, without gradient. -> (T, N) each.

        `often`: see `Learner.infer`.
        """
        obs, action, next_obs = (
            field.flatten(0, 1) for field in (batch.obs, batch.action, batch.next_obs)
        )
        seen = (obs, action, next_obs) if isinstance(self.eyes, Identity) else (obs, action)
        answers = learner.infer(self.rated, *seen, often=often)
        log_prob, value, *more = (answer.view(batch.reward.shape) for answer in answers)
        next_value = more[0] if more else self.next_value(learner.params, batch, value)
        return log_prob, value, next_value

    def rated(
        self, params: Params, obs: torch.Tensor, action: torch.Tensor, *next_obs: torch.Tensor
    ) -> list[torch.Tensor]:
        """The same of single steps; V(s') if s' is given. (B, ...) -> (B,) each."""
        features = self.encoder(params, obs)
        log_prob = self.distribution.log_prob(params, self.actor(params, features), action)
        value = self.critic(params, features).squeeze(-1)
        return [log_prob, value, *(self.value(params, following) for following in next_obs)]

    def next_value(self, params: Params, batch: Batch, value: torch.Tensor) -> torch.Tensor:
        """V(s') of a rollout, given V(s). (T, N) -> (T, N).

        What a step led to is mostly what the next one began with, whose value is known: the network
        is asked only after the last step and where an episode ended, for images are dear.
        """
        other = torch.ones_like(value, dtype=torch.bool)
        other[:-1] = (batch.next_obs[:-1] != batch.obs[1:]).flatten(2).any(-1)
        next_value = value.roll(-1, 0)
        next_value[other] = self.value(params, batch.next_obs[other])
        return next_value

    def choose(
        self,
        learner: Learner,
        obs: np.ndarray,
        rng: np.random.Generator | None,
        quick: bool = False,
    ) -> np.ndarray:
        """Actions drawn from `rng`, or the most likely ones. (N, *obs_shape) -> (N, *shape).

        `quick`: see `acting.outputs`.
        """
        if quick and self.one_choice and rng is not None:
            drawn = choices(learner, self.eyes, self.policy, obs, rng)
            if drawn is not None:
                return drawn
        out = outputs(learner, self.eyes, self.policy, obs, quick=quick)
        if rng is None:
            return self.distribution.mode(out)
        return self.distribution.sample(learner.on_host(self.own), out, rng)

    def native_spec(self, learner: Learner) -> NativeSpec | None:
        """`choose` in plain words: one choice, or a spread that no state changes; else None."""
        net, kind = self.policy, self.distribution
        ours = type(self) is ActorCritic and type(net) is MLP
        if not ours or not isinstance(self.eyes, Identity):
            return None
        if self.one_choice:
            return NativeSpec("categorical", net)
        if type(kind) is not Gaussian or kind.squash is not None:
            return None
        return NativeSpec("gaussian", net, std=lambda: kind.std_of(learner.on_host(self.own)))

    def held_noise(self, envs: int, every: int | None) -> HeldNoise | None:
        """What gSDE explores with, drawn every so many steps; None for other distributions."""
        gsde = self.distribution
        if not isinstance(gsde, GSDE):
            return None
        return HeldNoise((envs, gsde.latent, gsde.actions), every)

    def explore(self, learner: Learner, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions under held noise (N, F, A). (N, *obs_shape) -> (N, *shape)."""
        assert isinstance(self.distribution, GSDE)
        out = outputs(learner, self.eyes, self.policy, obs)
        return self.distribution.explore(learner.on_host(self.own), out, noise)
