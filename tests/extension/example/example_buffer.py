"""A buffer of another package: it keeps the last transition of each environment."""

from __future__ import annotations

import torch

from rl_cli.core.types import State, Transition


class LastTransition:
    def __init__(self) -> None:
        self.columns: dict[str, torch.Tensor] = {}

    def add(self, transition: Transition) -> None:
        """Copy obs, action, reward, next_obs, terminated and truncated; one row per environment."""
        self.columns = {k: torch.tensor(v) for k, v in transition._asdict().items()}

    def state_dict(self) -> State:
        return dict(self.columns)

    def load_state_dict(self, state: State) -> None:
        self.columns = {name: torch.as_tensor(value) for name, value in state.items()}
