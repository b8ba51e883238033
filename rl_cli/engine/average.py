"""Weights averaged over updates, for evaluation."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.core.fields import Fields
from rl_cli.core.types import Arrays, Params, State
from rl_cli.engine.flat_params import FlatParams
from rl_cli.engine.learner import Learner


class AveragedWeights:
    """Exponential moving average of a learner's parameters: mean <- d mean + (1 - d) theta.

    Polyak and Juditsky 1992 (doi:10.1137/0330046) average all iterates of stochastic approximation; the
    moving average forgets early ones. It is their plain mean for the first 1 / (1 - d) updates, so that
    it forgets the initial weights, too. Training does not read it.

    Attributes:
        flat: the averages, (P,), in the order of `learner.flat`.

    Args:
        learner: whose parameters are averaged; they are the first value of the average.
        decay: d, of one update.

    """

    def __init__(self, learner: Learner, decay: float) -> None:
        self.learner, self.decay = learner, decay
        self.flat = learner.flat.detach().clone()
        self.params = FlatParams(learner.params).views(self.flat)

    def update(self, updates: int) -> None:
        """Average the present parameters as if each of the last `updates` updates had led to them."""
        weight = max(1.0 - self.decay**updates, updates / self.learner.updates)
        self.flat.lerp_(self.learner.flat.detach(), weight)

    def reset(self) -> None:
        """Start again from the present parameters."""
        self.flat.copy_(self.learner.flat.detach())

    @property
    def arrays(self) -> Arrays:
        """The averages by name; they share memory with `flat` on the CPU."""
        return {name: value.cpu().numpy() for name, value in self.params.items()}

    def policy_state(self) -> Params:
        """Copies of the averages by name, as stored in a checkpoint's policy file."""
        return {name: value.cpu().clone() for name, value in self.params.items()}

    def state_dict(self) -> State:
        """The learner's parameters: the policy file holds the averages in their place."""
        return {"online": self.learner.flat.detach()}

    def load_state_dict(self, state: State) -> None:
        """Restore the learner's parameters. Raises StateError."""
        online = Fields(state, "average").array("online", tuple(self.flat.shape), np.float32)
        with torch.no_grad():
            self.learner.flat.copy_(torch.from_numpy(online))
