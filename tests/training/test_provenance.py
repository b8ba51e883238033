"""What a run records about itself, what a resume finds changed, and whether a run is reproduced."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pytest

from rl_cli.cli import train as rl_train
from rl_cli.core.errors import StorageError
from rl_cli.storage import provenance_file
from rl_cli.storage.provenance_file import MAX_STARTS, Start, read_starts, write_starts
from rl_cli.training import provenance, working_folder
from rl_cli.training.reproduction import compare
from rl_cli.training.working_folder import git_state

SMALL = [
    *("algo=dqn", "env=cartpole", "hparams=none", "total_timesteps=120", "checkpoint.every=60"),
    *("algo.learning_starts=40", "algo.batch_size=8", "algo.buffer_size=100", "compile=false"),
    *("eval.every=60", "eval.episodes=1", "log.every=30", "log.tensorboard=false"),
    *("video.episodes=0", "quiet=true"),
]


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(here):
    """A repository with one commit, in the current folder."""
    git(here, "init", "-q")
    (here / "envs.py").write_text("x = 1\n")
    git(here, "add", ".")
    git(here, "commit", "-qm", "first")
    return here


def test_git_state_has_commit_files_and_a_diff_that_applies(repository):
    clean = git_state(repository)
    assert clean.commit == git(repository, "rev-parse", "HEAD").strip()
    assert (clean.changed, clean.untracked, clean.diff, clean.diff_sha256) == ([], [], b"", "")
    (repository / "envs.py").write_text("x = 2\n")
    (repository / "new file.py").write_text("y = 1\n")
    (repository / "more").mkdir()
    found = git_state(repository / "more")
    assert (found.changed, found.untracked) == (["envs.py"], ["new file.py"])
    git(repository, "checkout", "-q", "envs.py")
    subprocess.run(["git", "apply", "-"], cwd=repository, input=found.diff, check=True)
    assert (repository / "envs.py").read_text() == "x = 2\n"


def test_git_state_of_moved_files_and_of_no_commit(repository):
    git(repository, "mv", "envs.py", "other envs.py")
    (repository / "z.py").write_text("")
    found = git_state(repository)
    assert (found.changed, found.untracked) == (["other envs.py"], ["z.py"])
    git(repository, "init", "-q", "inner")
    assert git_state(repository / "inner").commit == ""


def test_long_diff_is_cut_and_its_whole_size_is_known(repository, monkeypatch):
    monkeypatch.setattr(working_folder, "MAX_DIFF", 100)
    (repository / "envs.py").write_text("y = 1\n" * 1_000)
    found = git_state(repository)
    assert (len(found.diff), found.diff_bytes > 5_000) == (100, True)


def test_no_repository_no_git_and_a_slow_one_are_unknown(here, monkeypatch):
    assert git_state(here) is None
    monkeypatch.setenv("PATH", str(here))
    assert git_state(here) is None
    slow = here / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(working_folder, "TIMEOUT", 0.05)
    assert git_state(here) is None


def test_run_records_each_start_and_a_resume_names_what_differs(repository, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["/somewhere/rl-train", "algo=dqn", "-x"])
    assert rl_train.run([*SMALL, "run_dir=run"]) == 0
    (first,) = read_starts(repository / "run")
    assert (first.step, list(first.command)) == (0, ["rl-train", "algo=dqn", "-x"])
    assert first.folder == str(repository)
    assert first.git["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert first.packages["python"] == sys.version.split()[0]
    assert {"torch", "numpy", "gymnasium", "rl-cli"} <= set(first.packages)
    assert {"source", "env source", "processor"} <= set(first.conditions)
    assert first.machine["processors"]
    assert first.compiled is False
    (repository / "envs.py").write_text("x = 2\n")
    command = ["resume=run", "total_timesteps=150", "quiet=false", "display=plain"]
    assert rl_train.run(command) == 0
    words = "the uncommitted changes of the working folder are others"
    assert words in " ".join(capfd.readouterr().out.split())
    _, second = read_starts(repository / "run")
    assert (second.step, list(second.differs)) == (120, [words])
    assert (repository / "run" / "provenance_2.diff").read_bytes().endswith(b"+x = 2\n")


def test_differences_name_commit_host_and_packages():
    old = Start(git={"commit": "a" * 40}, machine={"host": "n1"}, packages={"p": "1", "q": "1"})
    new = Start(git={"commit": "b" * 40}, machine={"host": "n2"}, packages={"p": "2", "q": "1"})
    assert provenance.differences(old, new) == [
        f"git commit {'a' * 12} before, {'b' * 12} now",
        "host n1 before, n2 now",
        "p 1 before, 2 now",
    ]
    assert provenance.differences(Start(), new) == []  # unknown is no difference
    assert provenance.differences(new, new) == []


def test_file_that_cannot_be_read_counts_as_none(tmp_path):
    assert read_starts(tmp_path) == []
    for content in (b"", b"[1]", b'{"starts": 3}', b"\xff", b"[" * 5_000):
        (tmp_path / provenance_file.NAME).write_bytes(content)
        assert read_starts(tmp_path) == []
    start = {"step": True, "command": "x", "git": [1], "machine": {"host": 3, "a\x1b": "\x1b[2J"}}
    (tmp_path / provenance_file.NAME).write_text(json.dumps({"starts": [3, start]}))
    (found,) = read_starts(tmp_path)
    assert (found.step, found.command, found.git) == (0, [], {})
    assert found.machine == {"a\\x1b": "\\x1b[2J"}


def test_first_start_is_kept_of_many(tmp_path):
    write_starts(tmp_path, [Start(step=step) for step in range(MAX_STARTS + 7)])
    steps = [start.step for start in read_starts(tmp_path)]
    assert steps == [0, *range(8, MAX_STARTS + 7)]


def test_full_disk_at_the_end_does_not_end_a_run(tmp_path, monkeypatch):
    found = provenance.Provenance(tmp_path, {}, {}, {})
    found.start(0)

    def fail(*_, **__):
        raise StorageError("disk full")

    monkeypatch.setattr(provenance, "write_starts", fail)
    found.decide(True)
    with pytest.raises(StorageError):
        found.start(5)


def test_run_is_reproduced_or_the_first_difference_is_named(here, capfd):
    assert rl_train.run([*SMALL, "run_dir=run"]) == 0
    assert rl_train.run(["reproduce=run", "run_dir=again"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert "may not have the bits" not in text
    assert "4 rows of metrics.csv, 2 rows of eval.csv, the weights of 2 checkpoints" in text
    with (here / "run" / "eval.csv").open() as file:
        rows = list(csv.reader(file))
    rows[2][3] = "7.0"
    (here / "run" / "eval.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    (start,) = read_starts(here / "run")
    other = start.conditions | {"torch kernels": "AVX9"}
    write_starts(here / "run", [Start(conditions=other)])
    assert rl_train.run(["reproduce=run", "run_dir=third", "threads=1"]) == 1
    text = " ".join(capfd.readouterr().out.split())
    assert f"first difference: eval.csv, step 120: {rows[0][3]} 7.0 before" in text
    assert "may explain it: torch kernels AVX9 before" in text
    assert "may not have the bits of run: torch kernels AVX9 before" in text.partition("step 30")[0]


def test_reproduction_compares_weights_and_takes_what_a_stopped_run_has(here):
    assert rl_train.run([*SMALL, "run_dir=run"]) == 0
    assert rl_train.run([*SMALL, "run_dir=other", "seed=5"]) == 0
    for name in ("metrics.csv", "eval.csv"):  # so that only the weights differ
        (here / "other" / name).write_bytes((here / "run" / name).read_bytes())
    assert compare(here / "run", here / "other").difference.startswith("checkpoint 60: ")
    shutil.copytree(here / "run", here / "cut")
    lines = (here / "cut" / "metrics.csv").read_text().splitlines(keepends=True)
    (here / "cut" / "metrics.csv").write_text("".join(lines[:3]))
    missing = compare(here / "cut", here / "run").difference
    assert missing == "metrics.csv has a row at step 90 now only"
    status = json.loads((here / "cut" / "status.json").read_text())
    (here / "cut" / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    found = compare(here / "cut", here / "run")
    assert found.difference is None
    assert found.compared[0] == "2 rows of metrics.csv"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce=nowhere"], "nowhere"),
        (["reproduce="], "no folder is named"),
        (["reproduce=run", "algo.gamma=0.5"], "a reproduced run keeps its configuration"),
        (["reproduce=run", "env=acrobot"], "a reproduced run keeps its configuration"),
        (["reproduce=run", "nonsense=1"], "unknown key nonsense"),
        (["-m", "reproduce=run"], "a reproduced run keeps its configuration"),
    ],
)
def test_reproduce_refuses_bad_input_in_three_lines(here, capsys, words, message):
    (here / "run").mkdir()
    config = "labels: [dqn, cartpole]\nalgo: {name: dqn}\nenv: {id: CartPole-v1}\n"
    (here / "run" / "config.yaml").write_text(config)
    assert rl_train.run(words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) <= 3


def test_starts_that_are_too_long_for_one_file_leave_the_first_and_the_latest(tmp_path):
    long = {"files": ["x" * 200] * 200}
    for step in range(60):
        write_starts(tmp_path, [*read_starts(tmp_path), Start(step=step, git=long)])
    steps = [start.step for start in read_starts(tmp_path)]
    assert steps[0] == 0
    assert steps[1:] == [*range(60 - len(steps) + 1, 60)]
    assert len(steps) > 10
