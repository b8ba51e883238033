"""Faults of an env: anything that its code raises becomes an error with a place, also while it is closed."""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rl_cli.core.errors import EnvFault, RunError, first_line

PACKAGE = str(Path(__file__).parents[1])

FIX = "fix the env; RL_CLI_DEBUG=1 shows the full traceback"


class Closable(Protocol):
    def close(self) -> None: ...


def env_fault(error: BaseException, where: str) -> RunError:
    """The error to raise for an exception in an env; `where` says which env and step.

    Also for SystemExit, GeneratorExit and a KeyboardInterrupt that the env raised itself: code of an env
    must not end the process as if the run were done. A KeyboardInterrupt of a signal is raised again.
    """
    if isinstance(error, RunError):  # without a place: raised by `envs.checked`
        return error if error.where else type(error)(error.what, where, error.fix)
    if is_signal(error):
        raise error
    return EnvFault(raised(error), f"{where}; {_place(error)}", FIX)


@contextmanager
def faults_at(where: str) -> Iterator[None]:
    """Turn whatever the body raises into `env_fault`. Not in the training loop: it takes a microsecond."""
    try:
        yield
    except BaseException as error:
        raise env_fault(error, where) from error


def raised(error: BaseException) -> str:
    """What an env raised, as a sentence."""
    name, text = type(error).__name__, first_line(error)
    return f"the env raised {name}" if text == name else f"the env raised {name}: {text}"


def is_signal(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt comes from a signal, and not from a `raise` of an env."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = _last(error.__traceback__)
    if last is None or last.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return True
    code = last.tb_frame.f_code.co_code
    return code[last.tb_lasti] != dis.opmap["RAISE_VARARGS"]


def _last(at: TracebackType | None) -> TracebackType | None:
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at


def _place(error: BaseException) -> str:
    """File, line and function that raised an exception."""
    last = _last(error.__traceback__)
    if last is None:
        return "place unknown"
    code = last.tb_frame.f_code
    return f"{Path(code.co_filename).name}:{last.tb_lineno} in {code.co_name}"


def close_env(env: Closable) -> str | None:
    """Close an env. -> why that failed; None: it did not. What was trained or evaluated is not affected."""
    try:
        env.close()
    except BaseException as error:
        if is_signal(error):
            raise
        if isinstance(error, RunError):
            return error.what
        return raised(error)
    return None


def close_all(envs: Iterable[Closable]) -> list[str]:
    """Close every env. -> the different reasons why some could not be closed."""
    problems = [close_env(env) for env in envs]
    return list(dict.fromkeys(problem for problem in problems if problem is not None))


def note_of(problem: str) -> str:
    """The line to print for a result of `close_env`."""
    return f"note: close() of the env failed; results are not affected: {problem}"
