"""rl-runs: the list of runs, its filters, and deletion."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from rl_cli.cli import runs as command
from rl_cli.report import listing, run_data
from rl_cli.storage.folder_lock import FolderLock
from tests.report.folders import write_run


@pytest.fixture
def three(here):
    """Three runs with final returns 1, 2 and none."""
    places = {"a": ("dqn", 1.0), "b": ("ppo", 2.0), "c": ("ppo", None)}
    for name, (algo, final) in places.items():
        state = "failed" if final is None else "completed"
        folder = write_run(here / "runs" / name, {}, labels=(algo, "cartpole"), state=state)
        status = {"state": state, "step": 1200, "eval_return": final}
        (folder / "status.json").write_text(json.dumps(status))
    return here / "runs"


def listed(capsys):
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines[1:-1]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["a", "b", "c"]),
        (["algo=ppo"], ["b", "c"]),
        (["env=acrobot"], []),
        (["state=completed", "sort=return"], ["a", "b"]),
        (["min_return=1.5"], ["b"]),
        (["max_return=1.5"], ["a"]),
        (["sort=return"], ["c", "a", "b"]),
        (["last=1"], ["c"]),
        (["runs/a", "runs/c"], ["a", "c"]),
    ],
)
def test_filters_and_order(three, capsys, words, expected):
    assert command.run(words) == 0
    assert listed(capsys) == expected


def test_line_of_a_run_has_its_state_step_return_and_size(three, capsys):
    (three / "a" / "big").write_bytes(b"x" * 5_000_000)
    command.run(["algo=dqn"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a", "dqn", "cartpole", "completed", "1,200", "1.000", "5.0", "MB"]
    assert lines[2] == "1 run, 5.0 MB"


def answer(monkeypatch, text, is_terminal=True):
    stdin = io.StringIO(text)
    stdin.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize(("text", "left"), [("y\n", "ab"), ("n\n", "abc"), ("", "abc")])
def test_runs_are_deleted_after_a_yes(three, monkeypatch, text, left):
    answer(monkeypatch, text)
    assert command.run(["delete", "state=failed"]) == 0
    assert sorted(path.name for path in three.iterdir()) == list(left)


def test_nothing_is_deleted_without_a_terminal_to_ask_on(three, monkeypatch, capsys):
    answer(monkeypatch, "y\n", is_terminal=False)
    assert command.run(["delete"]) == 2
    assert "yes=true" in capsys.readouterr().err
    assert len(list(three.iterdir())) == 3


def test_run_in_use_is_kept_and_others_are_deleted(three, capsys):
    with FolderLock.take(three / "b"):
        assert command.run(["delete", "yes=true"]) == 1
    assert [path.name for path in three.iterdir()] == ["b"]
    assert "deleted 2 of 3 runs" in capsys.readouterr().out


def test_links_are_not_followed(three, tmp_path_factory, capsys):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").write_bytes(b"x" * 2_000_000)
    (three / "a" / "link").symlink_to(outside)
    (three / "loop").symlink_to(three)
    command.run(["delete", "algo=dqn", "yes=true"])
    assert "MB" not in capsys.readouterr().out
    assert (outside / "kept").exists()
    assert not (three / "a").exists()


@pytest.mark.parametrize(
    "text",
    ["", "a: 1\n", "defaults: [_self_]\nalgo: dqn\n", "labels: [cat, dog]\n", "- labels\n", "\0"],
)
def test_folder_of_another_program_is_no_run(three, capsys, text):
    """Its config.yaml is not one that rl-train wrote: nothing in the folder is deleted."""
    other = three / "project"
    other.mkdir()
    (other / "config.yaml").write_text(text)
    assert command.run(["delete", "yes=true"]) == 0
    assert "deleted 3 of 3 runs" in capsys.readouterr().out
    assert [path.name for path in three.iterdir()] == ["project"]


def test_run_that_only_a_record_names_is_kept_outside_of_the_named_folders(three, here, capsys):
    elsewhere = write_run(here / "elsewhere", {})
    for name, folder in (("sweep", elsewhere), ("mine", three / "a")):
        (here / name).mkdir()
        (here / name / "job_0.json").write_text(json.dumps({"run_dir": str(folder)}))
    assert command.run(["delete", "sweep", "mine", "yes=true"]) == 0
    assert (elsewhere / "config.yaml").exists()
    assert not (three / "a").exists()
    assert "elsewhere is kept" in capsys.readouterr().err


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_runs_of_every_version_are_listed(version):
    folders = list(run_data.find([Path(__file__).parents[1] / "golden" / f"format_{version}"]))
    assert folders
    assert len(listing.entries(folders)) == len(folders)


ROWS = [
    command.COLUMNS,
    ("20261126-141158_s0_dee8", "ppo", "cartpole", "completed", "60,000", "500.0", "431 kB"),
    ("night", "reinforce", "lunarlander_continuous", "interrupted", "1,000,000", "", "11 MB"),
]


@pytest.mark.parametrize("width", [40, 60, 80, 90, 120])
def test_no_word_of_the_list_is_broken_and_no_line_is_longer_than_the_terminal(width):
    found = command.lines(ROWS, width)
    assert max(map(len, found)) <= width
    words = [word for row in ROWS for word in row if word]
    assert " ".join(found).split() == " ".join(words).split()
    assert (len(found) == len(ROWS)) == (width > 100)  # 101 characters are needed


def test_list_that_is_not_on_a_terminal_has_a_line_per_run():
    found = command.lines(ROWS, None)
    assert [len(line.split()) for line in found] == [7, 8, 7]
    assert found[1].index("500.0") + 5 == found[0].index("return") + 6  # numbers end together


@pytest.mark.parametrize("value", ["9" * 5000, "2020-99-99", "x"])
def test_value_that_is_no_number_is_refused(three, capsys, value):
    assert command.run([f"last={value}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
