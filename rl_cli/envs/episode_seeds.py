"""Seeds of what an env may draw from besides its own generator: process-wide generators and spaces.

`random`, `np.random` and the `sample` of a space are not seeded by `reset(seed=...)`. They are seeded anew
before each episode, so that an episode is determined by its start state and its actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from gymnasium import Space, spaces

from rl_cli.core.seeding import seed_globals
from rl_cli.core.types import State

OWN_GENERATOR = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""Spaces that draw from no other generator than their own."""


class EpisodeSeeds:
    """Seeds `random`, `np.random` and the spaces of one env.

    Args:
        env: made by gymnasium, with its wrappers.

    """

    @classmethod
    def of(cls, envs: Sequence[Any], slow: Sequence[Any]) -> list[EpisodeSeeds | None]:
        """One for each env that is not a fast version of `slow`; those draw from their own generator only."""
        return [cls(env) if env is other else None for env, other in zip(envs, slow, strict=True)]

    def __init__(self, env: Any) -> None:
        self.spaces = _spaces_of(env)
        self.simple = all(isinstance(space, OWN_GENERATOR) for space in self.spaces)
        self.space_seed = 0
        self.seeded_states: list[Any] | None = None  # of the spaces, right after they were seeded

    def start(self, seed: int) -> None:
        """Seed everything with `seed`."""
        seed_globals(seed)
        self._seed_spaces(seed)

    def begin(self, seed: int) -> State:
        """Seed everything for a new episode; spaces, which takes longer, only if they were sampled.

        Returns:
            The seeds in effect, for `restore`; part of the start state of the episode.

        """
        if not self.simple or self.seeded_states != self._states():
            self._seed_spaces(seed)
        seed_globals(seed)
        return {"globals": seed, "spaces": self.space_seed}

    def restore(self, start_state: State) -> None:
        """Seed everything as before the episode of `start_state`. Earlier versions have no seeds in it."""
        if "globals" in start_state:
            self._seed_spaces(cast(int, start_state["spaces"]))
            seed_globals(cast(int, start_state["globals"]))

    def _seed_spaces(self, seed: int) -> None:
        for space in self.spaces:
            space.seed(seed)
        self.space_seed = seed
        self.seeded_states = self._states() if self.simple else None

    def _states(self) -> list[Any]:
        return [space.np_random.bit_generator.state for space in self.spaces]


def _spaces_of(env: Any) -> list[Space[Any]]:
    """The action and observation spaces of an env and of its wrappers, each once."""
    found: dict[int, Space[Any]] = {}
    while env is not None:
        for name in ("action_space", "observation_space"):
            space = getattr(env, name, None)
            if isinstance(space, Space):
                found[id(space)] = space
        env = env.env if env is not env.unwrapped else None
    return list(found.values())
