"""Actor-critic network: policy logits or means, and state values, as pure functions of named parameters."""

from __future__ import annotations

import torch

from rl_cli.config.algorithm import AUTO, EncoderChoice
from rl_cli.config.ppo import Std
from rl_cli.core.types import EnvSpec, Params
from rl_cli.models.action_distributions import make_distribution
from rl_cli.models.encoders import make_encoder
from rl_cli.models.networks import MLP, Encoder, LatentMLP, Trunk


class ActorCritic:
    """Two separate MLPs, for observations with images on the features of one shared encoder.

    `actor` and `critic` map features to outputs; `distribution` interprets the actor's output.
    `policy_net` maps the features of `obs_encoder` to the same output in one MLP, for acting.

    Args:
        spec: observation and action shapes.
        hidden_sizes, activation: of the MLPs.
        log_std_init, std, squash: see `make_distribution`.
        shared: actor and critic share the hidden layers and have one linear layer each.
        encoder: what encodes images.

    Raises:
        BadInput: the action space does not support `std` or `squash`; images are too small.

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
        encoder: EncoderChoice = AUTO,
    ) -> None:
        self.obs_encoder = make_encoder(spec, encoder)
        self.encoder: Encoder = self.obs_encoder
        trunk = Trunk(self.obs_encoder, hidden_sizes, activation) if shared else None
        if trunk is not None:
            self.encoder, hidden_sizes = trunk, ()
        features = self.encoder.features
        latent = hidden_sizes[-1] if hidden_sizes else features
        self.distribution = make_distribution(spec.action, log_std_init, std, squash, latent)
        self.is_discrete = spec.action.kind == "discrete"
        kind = LatentMLP if self.distribution.latent else MLP
        self.actor = kind("actor", features, hidden_sizes, self.distribution.outputs, activation)
        self.critic = MLP("critic", features, hidden_sizes, 1, activation)
        self.policy_net = self.actor if trunk is None else trunk.with_head(self.actor)

    def init(self, generator: torch.Generator, with_critic: bool = True) -> Params:
        """Orthogonal weights; the output layers have gain 0.01 (policy) and 1 (value)."""
        params = self.encoder.init(generator) | self.actor.init(generator, output_gain=0.01)
        if with_critic:
            params |= self.critic.init(generator, output_gain=1.0)
        return params | self.distribution.init()

    def size(self, with_critic: bool = True) -> int:
        """Number of parameters that `init` creates."""
        own = sum(value.numel() for value in self.distribution.init().values())
        critic = self.critic.size if with_critic else 0
        return self.encoder.size + self.actor.size + critic + own

    def critic_parameters(self) -> list[str]:
        """Names of the parameters that only the critic uses."""
        return [name for layer in self.critic.layers for name in layer]

    def value(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """V(s). (B, *obs_shape) -> (B,)."""
        return self.critic(params, self.encoder(params, obs)).squeeze(-1)

    def evaluate_actions(
        self, params: Params, obs: torch.Tensor, action: torch.Tensor, *next_obs: torch.Tensor
    ) -> list[torch.Tensor]:
        """Log pi(a | s), V(s) and, if `next_obs` is given, V(s'). (B, ...) -> (B,) each."""
        features = self.encoder(params, obs)
        log_prob = self.distribution.log_prob(params, self.actor(params, features), action)
        value = self.critic(params, features).squeeze(-1)
        return [log_prob, value, *(self.value(params, following) for following in next_obs)]
