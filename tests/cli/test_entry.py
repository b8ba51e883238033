"""Console entry points: a signal during the imports ends the process in silence, with its exit code."""

from __future__ import annotations

import signal
import sys
from types import ModuleType

import pytest

from rl_cli.cli import entry
from rl_cli.core import ending, stop_signals, terminal


@pytest.fixture
def imports(monkeypatch):
    """A function that sets what happens when the command is imported."""
    monkeypatch.setattr(terminal, "protect", lambda: (sys.stdout, sys.stderr))
    monkeypatch.setattr(ending, "end_in_time", lambda code: None)
    monkeypatch.setattr("sys.argv", ["rl-train"])
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it

    class Importing(ModuleType):
        """A module whose import is in progress when `run` is looked up."""

        def __getattr__(self, name):
            if name != "run":
                raise AttributeError(name)
            return self.imported(self.__name__)

    def when_imported(function):
        for command in ("train", "evaluate", "play"):
            module = Importing(f"rl_cli.cli.{command}")
            module.imported = function
            monkeypatch.setitem(sys.modules, module.__name__, module)

    yield when_imported
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_signal_during_the_imports_gives_its_exit_code(imports, name, wrapped, capfd):
    number = signal.Signals[name]

    def interrupted(module):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if wrapped:  # as extension modules do
                raise ImportError("numpy could not be imported") from None
            raise

    imports(interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.train()
    assert ended.value.code == 128 + number
    assert capfd.readouterr() == ("", "")


def test_exit_code_of_the_command_is_that_of_the_process(imports):
    imports(lambda module: lambda argv: 7)
    with pytest.raises(SystemExit) as ended:
        entry.evaluate()
    assert ended.value.code == 7


def test_error_without_a_signal_is_raised(imports):
    def broken(module):
        raise ImportError(module)

    imports(broken)
    with pytest.raises(ImportError, match=r"rl_cli\.cli\.play"):
        entry.play()


def test_signals_that_are_ignored_stay_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with stop_signals.raising():
            signal.raise_signal(signal.SIGHUP)
            assert stop_signals.received() is None
    finally:
        signal.signal(signal.SIGHUP, before)
