"""Formatting: the text of numbers, paths, curves and evaluations."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rl_cli.core.start_folder import relative
from rl_cli.tracking.formatting import (
    describe,
    duration,
    joined,
    number,
    path_lines,
    size,
    sparkline,
    summary_table,
)
from tests.tracking.reports import SUMMARY


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 8, ""),
        ([5.0], 8, "▁"),
        ([3.0, 3.0, 3.0], 8, "▁▁▁"),
        ([0.0, 1.0], 8, "▁█"),
        ([-7, -6, -5, -4, -3, -2, -1, 0], 8, "▁▂▃▄▅▆▇█"),
        ([8, 1, 8, 1], 4, "█▁█▁"),
        ([0, 2, 7, 9, 14, 16], 3, "▁▄█"),  # means of pairs: 1, 8, 15; 8 has height 3.5 of 7
        ([0, 0, 0, 0, 9], 2, "▁█"),  # means of two values and of three
    ],
)
def test_sparkline(values, width, expected):
    assert sparkline(values, width) == expected


def test_sparkline_of_many_values_has_its_width():
    assert len(sparkline([float(i % 7) for i in range(1_001)], 48)) == 48


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.5, "0.500"),
        (-1.23456, "-1.235"),
        (0.0123, "0.012"),
        (0.00123, "1.2e-03"),
        (-0.00005, "-5.0e-05"),
        (12.34, "12.3"),
        (-487.6543, "-487.7"),
        (1234567.0, "1,234,567.0"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_number(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0:00"),
        (0.6, "0:01"),
        (65, "1:05"),
        (59.7, "1:00"),  # never 0:60
        (3599.7, "1:00:00"),
        (2 * 3600 + 3 * 60 + 4, "2:03:04"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_duration(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        *((0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB")),
        *((999_499, "999 kB"), (999_500, "1.0 MB"), (7_000_000_000, "7.0 GB"), (2e13, "20,000 GB")),
    ],
)
def test_size(count, expected):
    assert size(count) == expected


def test_describe():
    text = "eval return 201.2 ± 11.5 (17 episodes), success 64%"
    assert describe(SUMMARY) == text
    unknown = SUMMARY._replace(success_rate=None, success_at=None)
    assert describe(unknown) == "eval return 201.2 ± 11.5 (17 episodes)"
    none = SUMMARY._replace(success_rate=0.0)
    assert describe(none).endswith(", success 0%")


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (13, "loss 1   kl 2\nlength 55"),
        (12, "loss 1\nkl 2\nlength 55"),
        (3, "loss 1\nkl 2\nlength 55"),  # items are not broken
        (25, "loss 1   kl 2   length 55"),
    ],
)
def test_items_are_joined_in_lines(width, expected):
    assert joined(["loss 1", "kl 2", "length 55"], width) == expected
    assert joined([], width) == ""


def test_paths_are_broken_after_a_slash():
    assert path_lines("runs/dqn/cartpole/x", 12) == ["runs/dqn/", "cartpole/x"]
    assert path_lines("/a/verylongname/b", 5) == ["/a/", "verylongname/", "b"]
    assert path_lines("runs/dqn", 60) == ["runs/dqn"]


def test_path_is_relative_inside_the_current_folder(here):
    assert relative(here / "runs/a") == "runs/a"
    assert relative(Path("runs/a")) == "runs/a"
    assert relative(here.parent) == str(here.parent)


def table(summary, title="a title"):
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(summary_table(summary, title))
    text = console.export_text()
    cells = [row.strip("│").split("│") for row in text.splitlines() if row.startswith("│")]
    return text, {name.strip(): value.strip() for name, value in cells}


def test_summary_table_shows_every_value():
    text, cells = table(SUMMARY, "dqn on [red]x[/red]")
    assert text.splitlines()[0].strip() == "dqn on [red]x[/red]"
    assert cells == {
        "episodes": "17",
        "mean return": "201.25",
        "std": "11.50",
        "median": "198.75",
        "IQM [95% interval]": "195.50 [-190.25, 205.75]",
        "min, max": "-12.50, 300.25",
        "mean length": "123.4",
        "success rate (return >= 195)": "64%",
    }


def test_summary_table_without_a_threshold_names_the_key():
    _, cells = table(SUMMARY._replace(success_rate=None, success_at=None))
    assert cells["success rate"] == "no threshold; set env.success_at"
