"""Names of callbacks of other packages: each state in a checkpoint has a key of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rl_cli.core import plugins as registry_module
from rl_cli.core.errors import BadInput
from rl_cli.training import plugins
from rl_cli.training.callbacks.base import Callback


def config(*names):
    return SimpleNamespace(callbacks={n: {} for n in names}, log=SimpleNamespace(sinks={}))


@pytest.fixture
def installed(monkeypatch):
    """Callbacks of another package by the name of their entry point -> the `name` of the class."""

    def install(**named):
        def entry(name):
            attributes = {} if name is None else {"name": name}
            cls = type("Mine", (Callback,), {**attributes, "__init__": lambda self, context: None})
            return SimpleNamespace(load=lambda: cls)

        entries = {key: entry(name) for key, name in named.items()}
        monkeypatch.setattr(registry_module, "_installed", lambda group: entries)

    return install


def test_callbacks_with_names_of_their_own_are_found(installed):
    installed(a="first", b="second")
    assert len(plugins.find_plugins(config("a", "b")).callbacks) == 2


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"a": None}, "the callback a has no name"),
        ({"a": 3}, "the callback a has no name"),
        ({"a": "video"}, "the callback a has the name of a callback of every run"),
        ({"a": "mine", "b": "mine"}, "the callback b has the name of the callback a"),
    ],
)
def test_missing_and_equal_names_are_refused(installed, named, problem):
    installed(**named)
    with pytest.raises(BadInput) as caught:
        plugins.find_plugins(config(*named))
    assert caught.value.what == problem


def test_the_built_in_names_are_those_of_the_callbacks(installed):
    """Each module named in BUILT_IN defines a callback of that name."""
    import importlib

    for name in plugins.BUILT_IN:
        module = importlib.import_module(f"rl_cli.training.callbacks.{name}")
        classes = [v for v in vars(module).values() if isinstance(v, type)]
        assert [
            c.name for c in classes if c.__module__ == module.__name__ and hasattr(c, "next_due")
        ] == [name]
