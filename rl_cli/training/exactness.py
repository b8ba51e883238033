"""Whether a resumed run has the bits of an uninterrupted one, and what may make it differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core.errors import plain
from rl_cli.engine.learner import Learner
from rl_cli.training import conditions

MOST = 100
"""Differences to keep of earlier resumptions."""

KINDS = ("plain", "compiled")


class Exactness:
    """The differences from an uninterrupted run, in words.

    The differences of earlier resumptions are part of each checkpoint that was written after them: a
    resumption whose steps were lost with it does not count.
    """

    def __init__(self) -> None:
        self.step = 0  # at which the run was resumed
        self.earlier: list[str] = []
        self.now: dict[str, str] = {}  # of this resumption, by what differs
        self.recorded: Mapping[str, str] = {}  # conditions of the run that wrote the checkpoint

    @property
    def differs(self) -> list[str]:
        """All differences; empty: the run is exact."""
        return [*self.earlier, *self.now.values()]

    def resume(self, step: int, recorded: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Compare the conditions of a checkpoint with those of this process."""
        self.step, self.recorded = step, recorded
        self.now |= conditions.different(recorded, found)

    def add(self, what: str, words: str) -> None:
        """Another difference of this resumption."""
        self.now[what] = words

    def compare_steps(self, learner: Learner) -> bool:
        """Compare how the learner runs with how it ran. -> whether what is known has changed.

        Before its first update, steps count as compiled if there is a compiler.
        """
        before = dict(self.now)
        for name in ("step", "action", "step compiler"):
            self.now.pop(name, None)
        was, now = learner.was_compiled, learner.is_compiled
        now = learner.awaits_compiling if now is None else now
        if was is not None and was != now:
            self.now["step"] = f"the update step was {KINDS[was]} before and is {KINDS[now]} now"
        if learner.was_native and learner.native is None:
            self.now["action"] = "action selection was compiled before and is plain now"
        compiled_by = {"step compiler": learner.compilers[1]} if learner.compilers[1] else {}
        self.now |= conditions.different(self.recorded, compiled_by)
        return self.now != before

    def state_dict(self) -> list[str]:
        """All differences, for a checkpoint."""
        return [*self.earlier, *(f"since step {self.step}: {words}" for words in self.now.values())]

    def load_state_dict(self, state: Any) -> None:
        """The words are printed, and may come from anybody."""
        words = state if isinstance(state, list) else []
        self.earlier = [plain(word) for word in words if isinstance(word, str)][:MOST]


def moved_schedules(algo: AlgoConfig, changed: Mapping[str, Any]) -> str:
    """Changes that a new budget makes to later steps; empty: none."""
    annealed = [name for name, value in vars(algo).items() if value is True and "anneal" in name]
    if getattr(algo, "replay", "uniform") != "uniform":
        annealed.append("priority_beta")
    if getattr(algo, "std", "learned") == "annealed":
        annealed.append("log_std")
    if "total_timesteps" not in changed or not annealed:
        return ""
    before, now = changed["total_timesteps"]
    return f"total_timesteps {before} before, {now} now, which moves {', '.join(annealed)}"


def cut_step(num_envs: int, step: int, changed: Mapping[str, Any]) -> str:
    """What the end of the earlier budget changed; empty: nothing. The last step of a budget may step some envs alone."""
    if "total_timesteps" not in changed:
        return ""
    before = int(changed["total_timesteps"][0])
    if step != before or before % num_envs == 0:
        return ""
    return f"total_timesteps {before} before is no multiple of env.num_envs={num_envs}"
