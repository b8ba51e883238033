"""Registry: modules of a package and entry points by name, and refusal of wrong names and settings."""

from __future__ import annotations

import sys

import pytest

from rl_cli.core.errors import BadInput
from rl_cli.core.plugins import Registry

SHIPPED = {
    "plugins_of_test/__init__.py": "",
    "plugins_of_test/shared.py": "raise AssertionError('a shared module is not a plugin')\n",
    "plugins_of_test/timer.py": (
        "class Helper:\n    pass\n"
        "class Timer:\n    widget = True\n"
        "    def __init__(self, context, seconds, unit='s'):\n"
        "        self.got = (context, seconds, unit)\n"
    ),
    "plugins_of_test/lazy.py": "raise AssertionError('imported without being chosen')\n",
}
OUTSIDE = {
    "outside_of_test.py": (
        "class Counter:\n    widget = True\n    def __init__(self, context):\n        self.got = (context,)\n"
        "NUMBER = 3\n"
        "class Strict:\n    widget = True\n    def __init__(self, context, n):\n        int(n)\n"
    ),
    "broken_of_test.py": "raise RuntimeError('no driver\\nsecond line')\n",
    "exits_of_test.py": "raise SystemExit(3)\n",
    "outside-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n",
}


def is_widget(cls):
    return hasattr(cls, "widget")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of the package `plugins_of_test` and of an installed package's entry points."""
    group = f"rl_cli.test.{tmp_path.name}"  # entry points are cached by group
    entries = (
        f"[{group}]\ncounter = outside_of_test:Counter\nbroken = broken_of_test:Any\n"
        "exits = exits_of_test:Any\nmissing = outside_of_test:Missing\ntimer = outside_of_test:Counter\n"
        "other = outside_of_test:NUMBER\nstrict = outside_of_test:Strict\n"
    )
    files = {**SHIPPED, **OUTSIDE, "outside-1.0.dist-info/entry_points.txt": entries}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("widget", "widgets.{}", "plugins_of_test", {"shared"}, group, is_widget)
    for name in [m for m in sys.modules if m.partition(".")[0].endswith("_of_test")]:
        del sys.modules[name]


def refusal(action):
    """The lines of the error that the action raises, without labels."""
    with pytest.raises(BadInput) as caught:
        action()
    return caught.value.what, caught.value.where, caught.value.fix


def test_names_are_modules_without_the_shared_ones_and_entry_points(registry):
    assert registry.names() == [
        "broken",
        "counter",
        "exits",
        *("lazy", "missing", "other", "strict", "timer"),
    ]


def test_factory_constructs_with_the_context_first_and_the_settings_by_name(registry):
    timer, counter = registry.factories({"timer": {"seconds": 3}, "counter": {}})
    assert timer("context").got == ("context", 3, "s")
    assert counter("context").got == ("context",)
    (other,) = registry.factories({"timer": {"seconds": 3, "unit": "ms"}})
    assert other("context").got == ("context", 3, "ms")
    assert timer("a") is not timer("a")


def test_shipped_class_has_the_name_of_its_module_and_precedes_an_entry_point(registry):
    cls = registry.load("timer")
    assert (cls.__module__, cls.__name__) == ("plugins_of_test.timer", "Timer")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("tiner", "did you mean timer?"),
        ("xyzzy", "one of: broken, counter, exits, lazy, missing, other, strict, timer"),
        ("shared", "one of: broken, counter, exits, lazy, missing, other, strict, timer"),
        (
            "plugins_of_test.timer",
            "one of: broken, counter, exits, lazy, missing, other, strict, timer",
        ),
        ("os", "one of: broken, counter, exits, lazy, missing, other, strict, timer"),
    ],
)
def test_unknown_name_is_refused_and_modules_cannot_be_named(registry, name, fix):
    lines = refusal(lambda: registry.factories({name: {}}))
    assert lines == (f"unknown widget {name}", f"widgets.{name}", fix)


def test_empty_registry_says_that_none_is_installed(registry, tmp_path):
    (tmp_path / "nothing_of_test").mkdir()
    (tmp_path / "nothing_of_test/__init__.py").write_text("")
    empty = Registry(
        "widget", "widgets.{}", "nothing_of_test", set(), "rl_cli.test.no_such_group", is_widget
    )
    assert empty.names() == []
    fix = "install a package that provides this widget, or leave the key out"
    assert refusal(lambda: empty.load("timer"))[2] == fix


@pytest.mark.parametrize(
    ("settings", "problem", "where"),
    [
        ({}, "missing a required argument: 'seconds'", "widgets.timer"),
        (
            {"seconds": 1, "color": "red"},
            "got an unexpected keyword argument 'color'",
            "widgets.timer.seconds=1 widgets.timer.color=red",
        ),
        (
            {"seconds": 1, "context": 2},
            "multiple values for argument 'context'",
            "widgets.timer.seconds=1 widgets.timer.context=2",
        ),
    ],
)
def test_settings_that_the_constructor_does_not_take_are_refused(
    registry, settings, problem, where
):
    lines = refusal(lambda: registry.factories({"timer": settings}))
    assert lines == (f"widget timer: {problem}", where, "settings: seconds, unit")


def test_class_without_settings_is_described_as_such(registry):
    lines = refusal(lambda: registry.factories({"counter": {"start": 1}}))
    assert lines[1:] == ("widgets.counter.start=1", "settings: none")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "RuntimeError: no driver"),
        ("exits", "SystemExit: 3"),
        ("missing", "AttributeError: module 'outside_of_test' has no attribute 'Missing'"),
    ],
)
def test_entry_point_that_cannot_be_imported_is_refused(registry, name, problem):
    what, where, _ = refusal(lambda: registry.load(name))
    assert what == f"the widget {name} cannot be imported: {problem}"
    assert where == f"widgets.{name}"


def test_entry_point_that_is_no_class_is_refused(registry):
    what, where, _ = refusal(lambda: registry.factories({"other": {}}))
    assert (what, where) == (
        "the widget other is 3: no widget class",
        "widgets.other",
    )


def test_value_that_the_constructor_refuses_is_bad_input(registry):
    (strict,) = registry.factories({"strict": {"n": "a"}})
    what, where, _ = refusal(lambda: strict("context"))
    assert what == "widget strict: ValueError: invalid literal for int() with base 10: 'a'"
    assert where == "widgets.strict.n=a"
