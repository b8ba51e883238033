"""One job of a sweep: train, and write the record of how the run ended.

Runs in a forked child process, or, where there is no fork, as `python -m rl_cli.sweep.run_job` with
the job as JSON on standard input.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.config.labels import Labels
from rl_cli.core import memory, processes, stop_signals, terminal
from rl_cli.core.errors import RunError
from rl_cli.storage.atomic_files import write_json

if TYPE_CHECKING:
    from rl_cli.training.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class Task:
    """What a child process needs to know of its job; plain values that JSON can hold.

    Args:
        title: printed when the job starts; empty: nothing is printed.
        config: of the run, with `run_dir` or `resume`.
        labels: of the run.
        concurrent: how many jobs run at the same time, which share the memory.
        record: the fields of the job's record that are known before it starts.
        path: of the record.
        folder: of the run.

    """

    title: str
    config: dict[str, Any]
    labels: Labels
    concurrent: int
    record: dict[str, Any]
    path: str
    folder: str


def run(task: Task) -> int:
    """Train and write the record. -> exit code."""
    memory.share_among(task.concurrent)
    if task.title:
        terminal.say(task.title)
    outcome = _guarded(task.config, task.labels)
    folder = task.folder if Path(task.folder).exists() else ""
    record = task.record | dataclasses.asdict(outcome) | {"run_dir": folder}
    write_json(Path(task.path), record)
    return outcome.exit_code


def _guarded(config: dict[str, Any], labels: Labels) -> Outcome:
    """Train; every exception becomes an outcome, except signals."""
    from rl_cli import algos
    from rl_cli.training.experiment import train
    from rl_cli.training.outcome import Outcome

    try:
        return train(algos.build_run_config(config), config, labels)
    except RunError as error:
        terminal.warn(*str(error).splitlines())
        return Outcome(error.exit_code, "failed", error.what)
    except (
        KeyboardInterrupt
    ) as stop:  # while it starts, or a second signal: the sweep resumes it later
        return _interrupted(stop)
    except SystemExit as error:  # raised by an env or a library: the job is not complete
        return Outcome(1, "failed", f"SystemExit: {error.code}")
    except Exception as error:
        if (
            stop_signals.received() is not None
        ):  # a signal ended an import, which failed in its own way
            return _interrupted(error)
        terminal.warn_traceback()
        return Outcome(1, "failed", f"{type(error).__name__}: {error}")


def _interrupted(error: BaseException) -> Outcome:
    from rl_cli.training.outcome import Outcome

    signum = stop_signals.signal_of(error)
    return Outcome(128 + signum, "interrupted", signal.Signals(signum).name)


def import_modules(tensorboard: bool) -> None:
    """Import what is slow to import, once, before jobs are forked."""
    import rl_cli.training.run  # noqa: F401  imports torch

    if tensorboard:
        import torch.utils.tensorboard  # noqa: F401


def main() -> int:
    """Entry point of a spawned job. -> exit code."""
    terminal.protect()
    processes.end_with_parent(signal.SIGTERM)
    with stop_signals.raising():
        fields = json.load(sys.stdin)
        return run(Task(**fields | {"labels": Labels.of(fields["labels"])}))


if __name__ == "__main__":
    sys.exit(main())
