"""Trials of a study: who works on them, which were left by killed processes, what their runs gave.

All of it is stored in the study, as attributes of trials, so that any number of processes can work on
one study and each can take over what another one left.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rl_cli.storage.folder_lock import Owner

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

OWNER, LABEL, ENDED = "owner", "label", "ended"
"""Attributes of a trial: its process, its number for the user, why it ended."""

KILLED, KILLS, SURPLUS = "killed", "kills", "surplus"
"""Further ones: whether another trial continues it, how often its process was killed, whether two processes
started it as the last one."""

MAX_KILLS = 3
"""Attempts of a trial whose processes are killed, for example for lack of memory."""

Point = tuple[int, float]
"""Env step and mean return of an evaluation."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a run of a trial so far, stored as an attribute.

    Attributes:
        seed: of the run.
        state: running, completed, pruned, failed.
        folder: of the run, relative to the start folder.
        curve: its evaluations.
        value: the objective; None: not complete.
        steps: env steps to the threshold, twice the budget if it was not reached; None: not known.
        seconds: training time.
        reason: why it ended.

    """

    seed: int
    state: str
    folder: str
    curve: Sequence[Point] = ()
    value: float | None = None
    steps: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def recorded(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"curve": [list(point) for point in self.curve]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunResult:
        return cls(**{**record, "curve": [(int(s), float(r)) for s, r in record["curve"]]})


def results(trial: FrozenTrial) -> dict[int, RunResult]:
    """The runs of a trial by seed."""
    found = (v for k, v in trial.user_attrs.items() if k.startswith("run ") and v)
    return {each.seed: each for each in map(RunResult.of, found)}


def label(trial: FrozenTrial | Trial) -> int:
    """The number of a trial, which it keeps when another process continues it."""
    return int(trial.user_attrs.get(LABEL, trial.number))


def index(trials: Sequence[FrozenTrial], number: int) -> int:
    """The label of a new trial: how many other ones came before it, without repetitions.

    Args:
        trials: all of the study.
        number: Optuna's, which counts repetitions too.

    """
    before = (trial for trial in trials if trial.number < number)
    return sum(KILLS not in t.user_attrs and not t.user_attrs.get(SURPLUS) for t in before)


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the requested ones."""
    return not (trial.user_attrs.get(KILLED) or trial.user_attrs.get(SURPLUS))


class Trials:
    """Takes trials of a study for this process.

    Args:
        study: of Optuna.
        space: distributions of its parameters.
        limit: requested number of trials.
        stale_after: seconds without a sign of life after which a process of another machine counts as
            killed. A process of this machine is looked for.

    """

    def __init__(
        self, study: Study, space: dict[str, BaseDistribution], limit: int, stale_after: float
    ) -> None:
        self.study, self.space, self.limit, self.stale_after = study, space, limit, stale_after
        self.seen: dict[int, tuple[object, float]] = {}  # trial -> last sign of life, when it came
        self.mine: dict[int, Trial] = {}
        self.beats, self.beaten = 0, 0.0

    def every(self) -> list[FrozenTrial]:
        """The requested trials, by label."""
        return sorted(filter(counts, self._all()), key=label)

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def take(self) -> Trial | None:
        """A trial to run: one that a killed process left, or a new one. None: there is no further one."""
        self.requeue()
        found = [trial for trial in self._all() if counts(trial)]
        waiting = any(trial.state.name == "WAITING" for trial in found)
        if len(found) >= self.limit and not waiting:
            return None
        trial = self.study.ask(self.space)
        if KILLS not in trial.user_attrs:
            if self._is_surplus(trial.number):
                trial.set_user_attr(SURPLUS, True)
                self._end(trial, "FAIL")
                return None
            trial.set_user_attr(LABEL, index(self._all(), trial.number))
        self.mine[trial.number] = trial
        self._sign(trial)
        return trial

    def _is_surplus(self, number: int) -> bool:
        """Whether another process has taken the last trial at the same time."""
        before = (trial for trial in self._all() if trial.number < number and counts(trial))
        return sum(1 for _ in before) >= self.limit

    def requeue(self) -> None:
        """Queue again what killed processes left. Of several processes that see it, one does."""
        for trial in self._all():
            if (
                trial.state.name == "RUNNING"
                and trial.number not in self.mine
                and self._is_stale(trial)
            ):
                self._continue(trial)

    def _continue(self, trial: FrozenTrial) -> None:
        import optuna

        kills = int(trial.user_attrs.get(KILLS, 0)) + (not _released(trial))
        attributes = {
            key: value for key, value in trial.user_attrs.items() if key not in (OWNER, KILLED)
        } | {KILLS: kills}
        attributes.setdefault(LABEL, index(self._all(), trial.number))
        storage, number = self.study._storage, trial._trial_id
        try:
            if kills >= MAX_KILLS:
                text = f"its process was killed {kills} times"
                storage.set_trial_user_attr(number, ENDED, text)
            else:
                storage.set_trial_user_attr(number, KILLED, True)
            self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            return  # another process was faster
        if kills < MAX_KILLS:
            self.study.enqueue_trial(trial.params, user_attrs=attributes)

    def _is_stale(self, trial: FrozenTrial) -> bool:
        if _released(trial):
            return True
        record = trial.user_attrs.get(OWNER)
        owner = None if record is None else Owner(**record["process"])
        if owner is not None and owner.is_on_this_host():
            return owner.is_gone()
        beat = None if record is None else record["beat"]
        last, since = self.seen.get(trial.number, (object(), 0.0))
        if last != beat:
            self.seen[trial.number] = (beat, time.monotonic())
            return False
        return time.monotonic() - since > self.stale_after

    def beat(self) -> None:
        """Show other machines, now and then, that this process works on its trials."""
        if time.monotonic() - self.beaten < self.stale_after / 6:
            return
        self.beats, self.beaten = self.beats + 1, time.monotonic()
        for trial in self.mine.values():
            self._sign(trial)

    def _sign(self, trial: Trial, released: bool = False) -> None:
        process = dataclasses.asdict(Owner.this_process())
        trial.set_user_attr(OWNER, {"process": process, "beat": self.beats, "released": released})

    def release(self) -> None:
        """Release all trials of this process; another process that continues the study runs them."""
        for trial in self.mine.values():
            self._sign(trial, released=True)
        self.mine.clear()

    def complete(self, trial: Trial, values: Sequence[float]) -> None:
        """A trial whose runs are complete."""
        self._end(trial, "COMPLETE", list(values))

    def prune(self, trial: Trial, reason: str) -> None:
        """A trial that was ended early, or whose run failed: worse than every complete one."""
        trial.set_user_attr(ENDED, reason)
        self._end(trial, "PRUNED")

    def fail(self, trial: Trial, reason: str) -> None:
        """A trial without information about its parameters."""
        trial.set_user_attr(ENDED, reason)
        self._end(trial, "FAIL")

    def _end(self, trial: Trial, state: str, values: Sequence[float] | None = None) -> None:
        from optuna.trial import TrialState

        self.mine.pop(trial.number, None)
        self.study.tell(trial, values, state=TrialState[state])


def _released(trial: FrozenTrial) -> bool:
    record = trial.user_attrs.get(OWNER)
    return record is not None and bool(record.get("released"))


def save(trial: Trial, result: RunResult) -> None:
    """Store the result of a run so far."""
    trial.set_user_attr(f"run {result.seed}", result.recorded())


def is_over(trials: Sequence[FrozenTrial], limit: int) -> bool:
    """Whether all requested trials have ended."""
    return len(trials) >= limit and all(trial.state.is_finished() for trial in trials)


def ranked(trials: Sequence[FrozenTrial], minimize: bool) -> list[FrozenTrial]:
    """Complete trials, the best first; of equal ones the earlier."""
    sign = 1.0 if minimize else -1.0
    complete = [
        t
        for t in trials
        if t.state.name == "COMPLETE" and math.isfinite((t.values or [math.nan])[0])
    ]
    return sorted(complete, key=lambda t: (sign * t.values[0], label(t)))
