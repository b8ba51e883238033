"""`rl_cli.train`."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.api import records
from rl_cli.api.isolation import isolated
from rl_cli.api.words import words_of
from rl_cli.core.processes import in_main_thread
from rl_cli.core.start_folder import absolute
from rl_cli.storage import run_folder

if TYPE_CHECKING:
    import numpy as np

    from rl_cli.evaluation.agent import Agent
    from rl_cli.training.outcome import Outcome

SIGNALS = 128
"""Exit code of a run that a signal stopped, without the signal's number."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run that ended.

    Attributes:
        folder: of the run, an absolute path.
        state: "completed" or, after a signal, "interrupted".
        reason: why it ended: "budget", a threshold that was reached, or the name of the signal.
        step: env steps taken.
        seconds: of training, in this call.
        eval_return: mean return of the last evaluation; None: interrupted.
        exit_code: of `rl-train` for this run.
        env: its id, wrappers and arguments, as this process gave them; `load` uses them.

    """

    folder: Path
    state: str
    reason: str
    step: int
    seconds: float
    eval_return: float | None
    exit_code: int
    env: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def returns(self) -> np.ndarray:
        """Returns of the episodes of the last evaluation, (E,) float64."""
        return records.last_returns(self.read())

    def read(self) -> records.Run:
        """Configuration, curves and evaluations of the run."""
        return records.read(self.folder)

    def load(self, checkpoint: int | str = "best") -> Agent:
        """The policy of a checkpoint: "best", "latest" or a step."""
        from rl_cli.api.evaluation import load

        return load(self.folder, checkpoint, env=self.env)


def train(words: Iterable[str] | str = (), /, **keys: Any) -> TrainedRun:
    """Train an agent, or continue a run: what `rl-train` does, in this process, with the same bits.

    Args:
        words: as on the command line: ["algo=ppo", "env=cartpole", "algo.gamma=0.98"].
        keys: further words: algo="ppo", seed=3, eval={"every": 500}, **{"algo.gamma": 0.98}.

    Returns:
        How the run ended, and its folder.

    Raises:
        BadInput: the arguments are invalid; nothing was started.
        RunError: the run failed: `EnvFault`, `NonFinite` or `StorageError`.
        KeyboardInterrupt: SIGINT stopped the run, after a checkpoint was saved. Other stop signals have the
            effect that they had before the call, also after a checkpoint.

    """
    typed = words_of(words, keys)
    with isolated():
        from rl_cli.cli.train import train_one

        outcome = train_one(typed)
        folder = absolute(Path(outcome.run_dir))
        env = run_folder.read_config(folder).get("env", {})
    _pass_on_signal(outcome)
    return TrainedRun(
        folder,
        outcome.state,
        outcome.reason,
        outcome.step,
        outcome.seconds,
        outcome.eval_return,
        outcome.exit_code,
        {name: env[name] for name in ("id", "wrappers", "kwargs") if name in env},
    )


def _pass_on_signal(outcome: Outcome) -> None:
    """Raise the signal that stopped a run again, for the handlers of the program."""
    if outcome.state == "interrupted" and in_main_thread():
        signal.raise_signal(outcome.exit_code - SIGNALS)
