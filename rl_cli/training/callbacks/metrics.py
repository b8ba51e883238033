"""Rows of training metrics, and the checks of every update."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence

from rl_cli.core.errors import RunError
from rl_cli.core.types import Episode, Metrics, Recording, State
from rl_cli.tracking.logger import check_finite
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.reporter import Reporter
from rl_cli.training.callbacks.triggers import Trigger


class MetricsCallback(Callback):
    """Collects metrics and episodes, and writes a row at each log interval.

    Args:
        reporter: receives the rows.
        trigger: the log interval.
        compile_seconds: total seconds spent compiling so far; left out of time/steps_per_second.
        check_every: updates between two checks of the gradient norm. 1 on the CPU. Reading the norm
            of a CUDA tensor waits for the device, so it is checked every 100 updates there, and up
            to 99 updates may follow the first gradient that is not finite.

    """

    name = "metrics"

    def __init__(
        self,
        reporter: Reporter,
        trigger: Trigger,
        compile_seconds: Callable[[], float],
        check_every: int,
    ) -> None:
        self.reporter, self.logger, self.trigger = reporter, reporter.logger, trigger
        self.compile_seconds, self.check_every = compile_seconds, check_every
        self.unchecked = 0  # updates since the last check
        self.divergence, self.no_gradient = Divergence(), NoGradient()
        self.row_step, self.row_seconds = 0, 0.0  # start of the interval of steps_per_second

    def start(self, state: RunState) -> None:
        self.trigger.restart(*state.served)
        self.row_step, self.row_seconds = state.step, self._seconds(state)

    def next_due(self, step: int) -> int:
        return self.trigger.next_due(step)

    def update(self, metrics: Metrics) -> None:
        self._check_gradient(metrics)
        self.logger.add(metrics)

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        self.logger.add_episodes(episodes)

    def is_due(self, state: RunState) -> bool:
        return bool(self.trigger.is_due(state.step, state.episodes))

    def run(self, state: RunState) -> None:
        if fired := self.trigger.fire(state.step, state.episodes):
            self._write_row(state, always_print=fired.by_episodes)

    def finish(self, state: RunState) -> None:
        if self.logger.row_step < state.step:
            self._write_row(state)

    def close(self) -> None:
        try:
            self.logger.close()
        except RunError:
            return  # a full disk was reported when the run failed

    def state_dict(self) -> State:
        return self.logger.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.logger.load_state_dict(state)

    def _check_gradient(self, metrics: Metrics) -> None:
        """Raise NonFinite if a gradient norm is not finite; the weights are then not finite either."""
        self.unchecked += 1
        if self.unchecked >= self.check_every:
            self.unchecked = 0
            norms = metrics["grad_norm"]
            check_finite({"train/grad_norm": float(norms[0] if len(norms) == 1 else norms.sum())})

    def _seconds(self, state: RunState) -> float:
        return state.elapsed - self.compile_seconds()

    def _write_row(self, state: RunState, always_print: bool = False) -> None:
        seconds = self._seconds(state)
        interval = max(seconds - self.row_seconds, 1e-9)
        times = {
            "time/steps_per_second": (state.step - self.row_step) / interval,
            "time/elapsed": state.elapsed,
        }
        self.row_step, self.row_seconds = state.step, seconds
        row = self.logger.row(times)
        self.reporter.row(state.step, row, always_print)
        check_finite(row)
        loss = row.get("train/loss")
        if loss is not None and self.divergence.detects(loss):
            self.reporter.note(
                f"train/loss is {loss:.1e} at step {state.step:,}, more than {Divergence.FACTOR:,} "
                "times its median: training may be diverging; try a smaller algo.learning_rate"
            )
        if self.no_gradient.detects(row.get("train/policy_loss")):
            self.reporter.note(
                f"train/policy_loss is exactly 0 up to step {state.step:,}: the policy gets no "
                "gradient, because all advantages are 0; all rewards so far may be 0 or the same"
            )


class Divergence:
    """Detects a loss that is finite but far above its usual size. Reports it once."""

    FACTOR = 10_000
    MIN_ROWS = 10  # rows needed before there is a median to compare with

    def __init__(self) -> None:
        self.sizes: deque[float] = deque(maxlen=50)
        self.reported = False

    def detects(self, loss: float) -> bool:
        """Whether this row's loss is the first above FACTOR times the median of the last 50 rows."""
        usual = statistics.median(self.sizes) if len(self.sizes) >= self.MIN_ROWS else math.inf
        self.sizes.append(abs(loss))
        if self.reported or abs(loss) <= self.FACTOR * max(usual, 1e-8):
            return False
        self.reported = True
        return True


class NoGradient:
    """Detects a policy loss that is exactly 0 in the first rows of a run. Reports it once."""

    ROWS = 3

    def __init__(self) -> None:
        self.zeros: int | None = 0  # rows so far; None: a loss was not 0, or it was reported

    def detects(self, policy_loss: float | None) -> bool:
        """Whether this row's loss is the last of the first `ROWS` losses, all of them 0."""
        if self.zeros is None or policy_loss is None:
            return False
        self.zeros = self.zeros + 1 if policy_loss == 0.0 else None
        if self.zeros != self.ROWS:
            return False
        self.zeros = None
        return True
