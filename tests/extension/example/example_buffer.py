"""A buffer of another package: it keeps the last transition of each environment."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.core.types import State, Transition


class LastTransition:
    def __init__(self) -> None:
        self.columns: dict[str, np.ndarray] = {}

    def add(self, transition: Transition) -> None:
        self.columns = {k: np.array(v) for k, v in transition._asdict().items()}

    def batch(self) -> list[torch.Tensor]:
        """obs, action, reward, next_obs, terminated; one row per environment."""
        names = ("obs", "action", "reward", "next_obs", "terminated")
        columns = [torch.from_numpy(self.columns[name]) for name in names]
        return [*columns[:-1], columns[-1].float()]

    def state_dict(self) -> State:
        return dict(self.columns)

    def load_state_dict(self, state: State) -> None:
        self.columns = {name: np.array(value) for name, value in state.items()}
