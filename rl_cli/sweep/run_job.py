"""One job of a sweep: train, and write the record of how the run ended.

Runs in a forked child process, or as `python -m rl_cli.sweep.run_job [<file>]` with the task as JSON in
the file or on standard input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.config.labels import Labels
from rl_cli.core import memory, processes, processors, stop_signals, terminal
from rl_cli.core.errors import RunError
from rl_cli.storage import run_folder
from rl_cli.storage.atomic_files import write_json
from rl_cli.sweep.task import Task

if TYPE_CHECKING:
    from rl_cli.training.outcome import Outcome


def run(task: Task) -> int:
    """Train and write the record. -> exit code."""
    memory.share_among(task.concurrent)
    outcome = _guarded(_with_threads(task), task.labels)
    folder = task.folder if Path(task.folder).exists() else ""
    record = task.record | dataclasses.asdict(outcome) | {"run_dir": folder}
    write_json(Path(task.path), record)
    return outcome.exit_code


def _with_threads(task: Task) -> dict[str, Any]:
    """The configuration with `threads=auto` as a number: that of the run if it resumes, else this machine's."""
    if task.config.get("threads") != "auto":
        return task.config
    threads: Any = processors.share(task.concurrent)
    with contextlib.suppress(RunError):
        threads = run_folder.read_config(Path(task.folder)).get("threads", threads)
    return task.config | {"threads": threads}


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
    """Import slow modules once, before jobs are forked."""
    import rl_cli.training.run  # noqa: F401  imports torch

    if tensorboard:
        import torch.utils.tensorboard  # noqa: F401


def main(argv: Sequence[str]) -> int:
    """Entry point of a job in a new process. -> exit code.

    Args:
        argv: the path of a file with the task as JSON; empty: it comes on standard input.

    """
    terminal.protect()
    processes.end_with_parent(signal.SIGTERM)
    with stop_signals.raising():
        with open(argv[0], "rb") if argv else sys.stdin.buffer as source:
            task = Task.of(json.load(source))
        os.chdir(task.start)
        os.environ.update(task.environment)
        terminal.to_file(task.output)
        return run(task)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
