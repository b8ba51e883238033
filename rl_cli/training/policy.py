"""The policy of a run, as its callbacks use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.core.errors import NonFinite
from rl_cli.core.types import Arrays
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.storage.policy_file import policy_arrays


class RunPolicy:
    """Actions and weights.

    Args:
        algo: the agent.
        normalizer: statistics of observations; None: they are not normalized.
        restore_settings: sets back what an env changed in the process; True: also what is looked at rarely.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        normalizer: ObservationNormalizer | None,
        restore_settings: Callable[[bool], object] = lambda at_once: None,
    ) -> None:
        self.algo, self.normalizer, self.restore_settings = algo, normalizer, restore_settings

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """(N, *obs_shape) -> (N, *action_shape); the most likely actions, or sampled with `rng`."""
        return self.algo.predict(obs, rng)

    def predict_restored(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """`predict` between two steps of an env."""
        self.restore_settings(False)
        return self.algo.predict(obs, rng)

    def check_finite(self) -> None:
        """Raise NonFinite if a weight is NaN or infinite, so that no checkpoint contains it."""
        if not bool(torch.isfinite(self.algo.learner.flat).all()):
            raise NonFinite(
                "a weight of the policy is not finite",
                "before a checkpoint",
                "lower algo.learning_rate",
            )

    def arrays(self) -> Arrays:
        """Weights and observation statistics by name, as stored in a checkpoint."""
        return policy_arrays(self.algo, self.normalizer)
