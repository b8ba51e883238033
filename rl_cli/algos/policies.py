"""Policies: a network and the learner that holds its parameters, turned into actions and estimates.

`native=True` evaluates the network in compiled C if the learner has it. Its rounding differs from NumPy's,
so evaluation does not use it: the return of a checkpoint must not depend on whether a compiler is installed.
The arrays it returns are overwritten by the next call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from rl_cli.algos.base import NativeSpec
from rl_cli.algos.exploration import HeldNoise, epsilon_greedy
from rl_cli.core.types import Arrays, Batch
from rl_cli.engine.learner import Learner
from rl_cli.models.actor_critic import ActorCritic
from rl_cli.models.gaussians import GSDE, Gaussian
from rl_cli.models.networks import MLP, Identity
from rl_cli.models.q_network import QNetwork


class QPolicy:
    """Greedy and epsilon-greedy action selection by a Q-network."""

    def __init__(self, net: QNetwork, learner: Learner) -> None:
        self.net, self.learner = net, learner

    def greedy(
        self,
        obs: np.ndarray,
        noise_rng: np.random.Generator | None = None,
        native: bool = False,
        weights: Arrays | None = None,
    ) -> np.ndarray:
        """argmax_a Q(s, a). (N, *obs_shape) -> (N,) int64.

        Args:
            obs: observations.
            noise_rng: draws the noise of a noisy network; None: mean weights.
            native: see the module docstring; not with `weights`.
            weights: in place of the learner's, by name.

        """
        net, extra = self.net, weights
        if noise_rng is not None:
            extra = {**(weights or {}), **net.name_noise(net.draw_noise(noise_rng, 1)[0])}
        out = self.learner.forward(net.encoder, net.head, obs, extra=extra, native=native)
        return cast(np.ndarray, net.returns.mean_in_numpy(out).argmax(-1))

    def epsilon_greedy(
        self,
        obs: np.ndarray,
        epsilon: float,
        rng: np.random.Generator,
        native: bool = False,
        weights: Arrays | None = None,
    ) -> np.ndarray:
        """The greedy action, or with probability epsilon a uniform one. (N, *obs_shape) -> (N,).

        A noisy network draws its noise from `rng` too. `native`, `weights`: see `greedy`.
        """
        noise_rng = rng if self.net.noise_sizes else None
        num_actions = self.net.num_actions
        return epsilon_greedy(
            lambda: self.greedy(obs, noise_rng, native, weights),
            len(obs),
            num_actions,
            epsilon,
            rng,
        )

    def native_net(self) -> MLP | None:
        """The MLP whose argmax `greedy` is; None if it is more than one plain MLP."""
        net = self.net
        plain = isinstance(net.encoder, Identity) and net.returns.atoms == 1
        return net.head if plain and type(net) is QNetwork and type(net.head) is MLP else None


class StochasticPolicy:
    """Action sampling by an actor, and estimates for rollouts by actor and critic."""

    def __init__(self, net: ActorCritic, learner: Learner) -> None:
        self.net, self.learner = net, learner
        self.distribution_params = tuple(net.distribution.init())

    def sample(self, obs: np.ndarray, rng: np.random.Generator, native: bool = False) -> np.ndarray:
        """Sample a ~ pi(. | s). (N, *obs_shape) -> (N, *action_shape)."""
        net, learner = self.net, self.learner
        if native and net.is_discrete:
            sampled = learner.sample(net.obs_encoder, net.policy_net, obs, rng)
            if sampled is not None:
                return sampled
        return net.distribution.sample(self._host_params(), self._outputs(obs, native), rng)

    def sample_with_noise(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions of gSDE for given noise (N, F, A). (N, *obs_shape) -> (N, *action_shape)."""
        distribution = cast(GSDE, self.net.distribution)
        return distribution.explore(self._host_params(), self._outputs(obs), noise)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """The mode of pi(. | s), or a sample if `rng` is given. (N, *obs_shape) -> (N, *action_shape)."""
        if rng is not None:
            return self.sample(obs, rng)
        return self.net.distribution.mode(self._outputs(obs))

    def _outputs(self, obs: np.ndarray, native: bool = False) -> np.ndarray:
        net = self.net
        return self.learner.forward(net.obs_encoder, net.policy_net, obs, native=native)

    def _host_params(self) -> Arrays:
        """The distribution's own parameters as NumPy arrays."""
        return self.learner.on_host(self.distribution_params)

    def make_noise(self, num_envs: int, every: int | None) -> HeldNoise | None:
        """The noise of gSDE, resampled every `every` steps; None for other distributions."""
        gsde = self.net.distribution
        if not isinstance(gsde, GSDE):
            return None
        return HeldNoise((num_envs, gsde.latent, gsde.actions), every)

    def evaluate(
        self, batch: Batch, same_shape: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log pi(a | s), V(s) and V(s') of a rollout (T, N, ...), without gradient. -> (T, N) each.

        `same_shape`: later rollouts have the same shape, so that compiling pays.
        """
        inputs = [batch.obs, batch.action]
        if isinstance(self.net.obs_encoder, Identity):
            inputs.append(batch.next_obs)
        rows = [column.flatten(0, 1) for column in inputs]
        found = self.learner.infer(self.net.evaluate_actions, *rows, repeated=same_shape)
        log_prob, value, *rest = (column.view(batch.reward.shape) for column in found)
        return log_prob, value, rest[0] if rest else self.next_value(batch, value)

    def next_value(self, batch: Batch, value: torch.Tensor) -> torch.Tensor:
        """V(s') of a rollout, given V(s). (T, N) -> (T, N).

        The successor of a step is mostly the observation of the next one, whose value is known. The
        network evaluates only the other successors (last step, episode ends): images are expensive.
        """
        other = torch.ones_like(value, dtype=torch.bool)
        other[:-1] = (batch.next_obs[:-1] != batch.obs[1:]).flatten(2).any(-1)
        next_value = value.roll(-1, 0)
        next_value[other] = self.net.value(self.learner.params, batch.next_obs[other])
        return next_value

    def native_spec(self, next_update: Callable[[int], int]) -> NativeSpec | None:
        """`sample` for the native collector: a categorical, or a Gaussian with a state-independent std."""
        net, policy_net, distribution = self.net, self.net.policy_net, self.net.distribution
        if type(net) is not ActorCritic or type(policy_net) is not MLP:
            return None
        if not isinstance(net.obs_encoder, Identity):
            return None
        if net.is_discrete:
            return NativeSpec("categorical", policy_net, next_update)
        if type(distribution) is not Gaussian or distribution.squash is not None:
            return None
        return NativeSpec(
            "gaussian",
            policy_net,
            next_update,
            std=lambda: distribution.std_of(self._host_params()),
        )
