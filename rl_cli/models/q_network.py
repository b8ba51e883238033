"""Q-networks: from observations to what is thought of every action's return."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from rl_cli.core.types import Arrays, EnvSpec, Params
from rl_cli.engine.forward import outputs
from rl_cli.engine.learner import Learner
from rl_cli.models.networks import MLP, Head, Identity, make_encoder
from rl_cli.models.q_heads import Dueling, NoisyMLP
from rl_cli.models.return_distributions import ValueDistribution

V = TypeVar("V", "torch.Tensor", np.ndarray)


class QNetwork:
    """Z(s, .; theta): for each of A actions the K numbers that `returns` reads.

    Args:
        spec: pixels go through convolutions first; one discrete action.
        dueling: two streams (`q_heads.Dueling`).
        noisy: all fully connected layers of the head are noisy (`q_heads.NoisyMLP`).

    """

    def __init__(
        self,
        spec: EnvSpec,
        hidden_sizes: tuple[int, ...],
        activation: str,
        returns: ValueDistribution,
        dueling: bool,
        noisy: bool,
    ) -> None:
        (num_actions,) = spec.action.sizes
        self.num_actions, self.returns = num_actions, returns
        self.encoder = make_encoder(spec.obs_shape)
        make, features, atoms = NoisyMLP if noisy else MLP, self.encoder.features, returns.atoms
        self.head: Head
        if dueling:
            self.head = Dueling(features, hidden_sizes, num_actions, atoms, activation, make)
        else:
            self.head = make("q", features, hidden_sizes, num_actions * atoms, activation)
        self.noise_sizes = self.head.noise_sizes

    @property
    def size(self) -> int:
        """Numbers that `init` makes."""
        return self.encoder.size + self.head.size

    def init(self, generator: torch.Generator) -> Params:
        """Fresh parameters."""
        return self.encoder.init(generator) | self.head.init(generator)

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, *obs_shape) -> (B, A, K)."""
        out = self.head(params, self.encoder(params, obs))
        return out.view(len(obs), self.num_actions, self.returns.atoms)

    def values(
        self, learner: Learner, obs: np.ndarray, noise: Arrays | None = None, quick: bool = False
    ) -> np.ndarray:
        """Q(s, .) for acting. (N, *obs_shape) -> (N, A). `quick`: see `acting.outputs`."""
        out = outputs(learner, self.encoder, self.head, obs, noise, quick)
        return self.returns.mean_in_numpy(out)

    def plain(self) -> MLP | None:
        """The network alone, where its outputs are what is thought of the actions; else None."""
        values = isinstance(self.encoder, Identity) and self.returns.atoms == 1
        if type(self) is not QNetwork or not values:
            return None
        return self.head if type(self.head) is MLP else None

    def draw_noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Factors of noise for `count` copies of the network, side by side. -> (count, E) float32.

        f(e) = sgn(e) sqrt |e| of standard normal e (Fortunato et al. 2018, section 3).
        """
        draws = rng.standard_normal((count, sum(self.noise_sizes.values())), np.float32)
        factors: np.ndarray = np.sign(draws) * np.sqrt(np.abs(draws))
        return factors

    def named(self, factors: V) -> dict[str, V]:
        """One copy's factors under the names that they have among the parameters. (E,)."""
        named, begin = {}, 0
        for name, size in self.noise_sizes.items():
            named[name] = factors[begin : begin + size]
            begin += size
        return named
