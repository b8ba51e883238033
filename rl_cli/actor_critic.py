"""A stochastic policy and the value of states, as pure functions of named parameters."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.acting import outputs
from rl_cli.distributions import make_distribution
from rl_cli.learner import Learner
from rl_cli.networks import MLP, make_encoder
from rl_cli.types import Batch, EnvSpec, Params


class ActorCritic:
    """Two separate MLPs on vectors, two heads on shared convolutions for pixels.

    `actor` and `critic` read features, `distribution` reads the actor's output; `critic` may be
    left out of `init` by algorithms that need no value.
    """

    def __init__(
        self, spec: EnvSpec, hidden_sizes: tuple[int, ...], activation: str, log_std_init: float
    ) -> None:
        self.distribution = make_distribution(spec.action, log_std_init)
        self.own = tuple(self.distribution.init())  # parameters beside the networks'
        self.encoder = make_encoder(spec.obs_shape)
        features, outputs = self.encoder.features, self.distribution.outputs
        self.actor = MLP("actor", features, hidden_sizes, outputs, activation)
        self.critic = MLP("critic", features, hidden_sizes, 1, activation)

    def init(self, generator: torch.Generator, with_critic: bool = True) -> Params:
        """Orthogonal weights; the last layers have gain 0.01 (policy) and 1 (value)."""
        params = self.encoder.init(generator) | self.actor.init(generator, output_gain=0.01)
        if with_critic:
            params |= self.critic.init(generator, output_gain=1.0)
        return params | self.distribution.init()

    def value(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """V(s). (B, *obs_shape) -> (B,)."""
        return self.critic(params, self.encoder(params, obs)).squeeze(-1)

    def next_value(self, params: Params, batch: Batch, value: torch.Tensor) -> torch.Tensor:
        """V(s') of a rollout, given V(s). (T, N) -> (T, N).

        What a step led to is mostly what the next one began with, whose value is known. Only after
        the last step and where an episode ended is the network asked.
        """
        other = torch.ones_like(value, dtype=torch.bool)
        other[:-1] = (batch.next_obs[:-1] != batch.obs[1:]).flatten(2).any(-1)
        next_value = value.roll(-1, 0)
        next_value[other] = self.value(params, batch.next_obs[other])
        return next_value

    def choose(
        self, learner: Learner, obs: np.ndarray, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Actions drawn from `rng`, or the most likely ones. (N, *obs_shape) -> (N, *shape)."""
        out = outputs(learner, self.encoder, self.actor, obs)
        if rng is None:
            return self.distribution.mode(out)
        return self.distribution.sample(learner.on_host(self.own), out, rng)
