"""rl-train: train an agent, or a sweep of them.

Functions import gymnasium and what needs it when they use it, so that `--help` and refusals are quick.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rl_cli import algos
from rl_cli.cli import (
    compose,
    config_groups,
    entry,
    group_names,
    hydra_errors,
    option_forms,
    recorded_runs,
    shell_requests,
    user_files,
)
from rl_cli.cli.arguments import is_asked, value_of
from rl_cli.cli.sweepers import JobFailed
from rl_cli.cli.train_task import TrainTask
from rl_cli.core import stop_signals, terminal
from rl_cli.core.errors import BadInput, first_line

if TYPE_CHECKING:
    from rl_cli.training.outcome import Outcome

DOCTOR = "--doctor"

# Matrix products of numpy are small here; BLAS threads make them slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

main = entry.train


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if is_asked(argv):
        from rl_cli.cli.help import answer_train

        return answer_train(argv)
    with hydra_errors.reported(argv, lambda: hydra_errors.training_keys(argv)) as code:
        if argv[:1] == ["--completion"]:
            from rl_cli.cli import completion

            return completion.script(argv[1] if len(argv) > 1 else "")
        words = _checked([word for word in argv if word != DOCTOR])
        if DOCTOR in argv:
            code[0] = _examine(words)
        elif _resumes(words):
            code[0] = recorded_runs.resume(words).exit_code
        elif value_of(words, "reproduce") is not None:
            code[0] = recorded_runs.reproduce(words)
        else:
            code[0] = _launch(words)[0]
    return code[0]


def train_one(argv: list[str]) -> Outcome:
    """Start or resume one run, as `rl-train` does with these words. Prints what the run prints.

    Raises:
        RunError: what the command would report.

    """
    with hydra_errors.explained(argv, lambda: hydra_errors.training_keys(argv)):
        words = _checked(argv)
        if value_of(words, "reproduce") is not None:
            raise BadInput(
                "only the command reproduces a run", "reproduce", "rl-train reproduce=<run>"
            )
        if _resumes(words):
            return recorded_runs.resume(words)
        outcome = _launch(words, sweeps=False)[1]
        assert outcome is not None
        return outcome


def _resumes(words: list[str]) -> bool:
    return value_of(words, "resume") not in (None, "auto", "null")


def _checked(argv: list[str]) -> list[str]:
    """The words of a command line in Hydra's form. Raises BadInput."""
    folders = [config_groups.CONF, *config_groups.user_folders(argv)]
    option_forms.check_forms(
        "rl-train",
        argv,
        lambda: hydra_errors.training_keys(argv),
        lambda: {n: g for g in ("env", "algo") for n in config_groups.members(g, folders)},
    )
    return group_names.resolve(compose.plain(argv), folders)


def _examine(argv: list[str]) -> int:
    """Examine what a command line would start, and start nothing. 1: something is wrong."""
    from rl_cli.cli.help_values import composed

    if (run := value_of(argv, "resume")) is not None:
        raise BadInput("--doctor examines new runs", f"resume={run}", "leave one of them out")
    found = composed(argv)
    cfg = algos.build_run_config(found.values)
    from rl_cli.training.doctor import Doctor

    return 1 if Doctor(cfg).examine(found.title) else 0


def _launch(argv: list[str], sweeps: bool = True) -> tuple[int, Outcome | None]:
    """Start a run or, if `sweeps`, also a sweep. -> the exit code, and how a single run ended."""
    from rl_cli.storage import run_folder
    from rl_cli.sweep import records

    user_files.check(argv)
    prepared = compose.prepare(argv)
    group_names.note_left_behind(argv, [config_groups.CONF, *config_groups.user_folders(argv)])
    folder = compose.sweep_folder(prepared)
    run_folder.require_plain_files(folder, records.FILES)
    task = TrainTask(folder, sweeps)
    try:
        compose.run_hydra("config", prepared, task)
    except KeyboardInterrupt as stop:
        if not sweeps:  # before the run could handle it, or a second one
            raise
        task.stopped_by(stop_signals.signal_of(stop))
    except hydra_errors.CompositionError as error:
        why = error.__cause__ or error
        if not task.has_run and not isinstance(why, JobFailed):
            raise
        # of a sweeper, after its jobs: for example, none completed
        terminal.warn(f"note: the sweeper ended with {type(why).__name__}: {first_line(why)}")
    except BadInput:
        if value_of(argv, "hydra.sweep.dir") is None and not records.paths(folder):
            compose.remove_sweep(folder)
        raise
    if task.exit_code and records.paths(folder):
        from rl_cli.sweep.report import say_stopped

        say_stopped(folder, argv, task.left)
    elif records.paths(folder):  # written here or by a launcher's processes
        from rl_cli.sweep.report import report

        return report(folder), None
    return task.exit_code, task.outcome
