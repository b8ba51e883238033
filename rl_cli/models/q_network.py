"""Q-network: outputs for each action, as a pure function of named parameters."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from rl_cli.config.algorithm import AUTO, EncoderChoice
from rl_cli.core.types import EnvSpec, Params
from rl_cli.models.encoders import make_encoder
from rl_cli.models.networks import MLP, Head
from rl_cli.models.q_heads import Dueling, NoisyMLP
from rl_cli.models.return_distributions import ReturnDistribution

V = TypeVar("V", "torch.Tensor", np.ndarray)


class QNetwork:
    """Z(s, .; theta): K outputs for each of A actions, which `returns` interprets.

    Args:
        spec: observation shape and one discrete action.
        hidden_sizes, activation, layer_norm: of the fully connected layers.
        returns: Q-values, C51 or QR-DQN; K = returns.atoms.
        dueling: value and advantage streams (`q_heads.Dueling`).
        noisy: all fully connected layers after the encoder are noisy (`q_heads.NoisyMLP`).
        encoder: what encodes images.

    """

    def __init__(
        self,
        spec: EnvSpec,
        hidden_sizes: tuple[int, ...],
        activation: str,
        returns: ReturnDistribution,
        dueling: bool,
        noisy: bool,
        encoder: EncoderChoice = AUTO,
        layer_norm: bool = False,
    ) -> None:
        (num_actions,) = spec.action.sizes
        self.num_actions, self.returns = num_actions, returns
        self.encoder = make_encoder(spec, encoder)
        make, features, atoms = NoisyMLP if noisy else MLP, self.encoder.features, returns.atoms
        self.head: Head
        if dueling:
            self.head = Dueling(
                features, hidden_sizes, num_actions, atoms, activation, make, layer_norm
            )
        else:
            outputs = num_actions * atoms
            self.head = make("q", features, hidden_sizes, outputs, activation, layer_norm)
        self.noise_sizes = self.head.noise_sizes

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates."""
        return self.encoder.size + self.head.size

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters."""
        return self.encoder.init(generator) | self.head.init(generator)

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, *obs_shape) -> (B, A, K)."""
        out = self.head(params, self.encoder(params, obs))
        return out.view(len(obs), self.num_actions, self.returns.atoms)

    def draw_noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Noise factors for `count` independent copies of the network. -> (count, E) float32.

        f(e) = sgn(e) sqrt |e| for standard normal e (Fortunato et al. 2018, section 3).
        """
        draws = rng.standard_normal((count, sum(self.noise_sizes.values())), np.float32)
        factors: np.ndarray = np.sign(draws) * np.sqrt(np.abs(draws))
        return factors

    def name_noise(self, factors: V) -> dict[str, V]:
        """Split the noise factors (E,) of one copy into named parameters of the noisy layers."""
        named, begin = {}, 0
        for name, size in self.noise_sizes.items():
            named[name] = factors[begin : begin + size]
            begin += size
        return named
