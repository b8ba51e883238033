"""One job of rl-eval with several runs: evaluate one of them.

Runs in a forked child process, or, where there is no fork, as `python -m rl_cli.sweep.evaluate_job` with the job
as JSON on standard input. It writes evaluation.json; its errors go to its output.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from rl_cli.config.commands import ReplayConfig
from rl_cli.config.schema import build
from rl_cli.core import memory, processes, stop_signals, terminal
from rl_cli.core.errors import RunError
from rl_cli.sweep.task import Task


def run(task: Task) -> int:
    """Evaluate `task.config`, the keys of rl-eval. -> exit code."""
    memory.share_among(task.concurrent)
    from rl_cli.evaluation.replay import replay

    try:
        replay(build(ReplayConfig, task.config))
    except RunError as error:
        terminal.warn(*str(error).splitlines())
        return error.exit_code
    return 0


def import_modules() -> None:
    """Import slow modules once, before jobs are forked."""
    import rl_cli.algos.factory
    import rl_cli.evaluation.replay
    import rl_cli.storage.policy_file  # noqa: F401  imports torch


def main() -> int:
    """Entry point of a job in a new process. -> exit code."""
    terminal.protect()
    processes.end_with_parent(signal.SIGTERM)
    with stop_signals.raising():
        task = Task.of(json.load(sys.stdin.buffer))
        os.chdir(task.start)
        os.environ.update(task.environment)
        terminal.to_file(task.output)
        return run(task)


if __name__ == "__main__":
    sys.exit(main())
