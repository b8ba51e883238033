"""Run folder: unique names, config.yaml and status.json round trips."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl_cli.core.errors import BadInput, StorageError
from rl_cli.storage import folder_lock, run_folder
from rl_cli.storage.manifest import FORMAT


def create(explicit=None):
    with run_folder.create("dqn", "cartpole", 3, explicit) as folder:
        return folder


@pytest.fixture
def frozen(monkeypatch):
    """The clock stops at one second."""
    noon = SimpleNamespace(now=lambda: datetime.datetime(2031, 2, 3, 12, 4, 5))
    monkeypatch.setattr(run_folder, "datetime", SimpleNamespace(datetime=noon))


def test_generated_name_has_algorithm_env_time_and_seed(here, frozen):
    folder = create()
    assert re.fullmatch(
        r"runs/dqn/cartpole/20310203-120405_s3_[0-9a-f]{4}", folder.relative_to(here).as_posix()
    )
    assert folder.is_dir()
    assert not any(folder.iterdir())


def test_twenty_runs_of_the_same_second_get_twenty_folders(here, frozen):
    folders = {create() for _ in range(20)}
    assert len(folders) == 20
    assert len(list((here / "runs/dqn/cartpole").iterdir())) == 20


def test_used_suffix_is_drawn_again(here, frozen, monkeypatch):
    draws = iter([b"\x00\x01", b"\x00\x01", b"\x00\x01", b"\xab\xcd"])
    monkeypatch.setattr(os, "urandom", lambda size: next(draws))
    assert [create().name[-4:] for _ in range(2)] == ["0001", "abcd"]


def test_explicit_folder_is_created_with_its_parents(here):
    assert create("out/a/b") == here / "out/a/b"  # an env may change the current folder
    assert (here / "out/a/b").is_dir()
    assert not (here / "runs").exists()


def test_explicit_folder_may_exist_if_it_is_empty(here):
    (here / "mine").mkdir()
    assert create("mine") == here / "mine"


@pytest.mark.parametrize("inside", ["notes.txt", ".hidden"])
def test_folder_with_content_is_refused_and_unchanged(here, inside):
    (here / "mine").mkdir()
    (here / "mine" / inside).write_text("keep")
    with pytest.raises(BadInput, match="not empty") as caught:
        create("mine")
    assert caught.value.where == "run_dir=mine"
    assert "rl-train resume=mine" in caught.value.fix
    assert (here / "mine" / inside).read_text() == "keep"


def test_file_in_place_of_the_folder_is_refused(here):
    (here / "mine").write_text("keep")
    with pytest.raises(BadInput) as caught:
        create("mine")
    assert caught.value.where == "run_dir=mine"
    assert (here / "mine").read_text() == "keep"


def test_folder_that_cannot_be_created_is_a_storage_error(here):
    (here / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        create("file/run")
    assert caught.value.where == "file/run"


def test_configuration_round_trips_with_types_and_order(tmp_path):
    config = {
        "labels": ["dqn", "cartpole"],
        "seed": 0,
        "total_timesteps": 1_000_000,
        "tiny": 1e-05,
        "text": ["1e-3", "null", "yes", "ünï: [", "0x1f", ""],
        "nothing": None,
        "algo": {"hidden_sizes": [64, 64], "double_q": False, "gamma": 1.0, "empty": {}},
    }
    run_folder.write_config(tmp_path, config)
    back = run_folder.read_config(tmp_path)
    assert back == {"format": FORMAT, **config}
    assert list(back) == ["format", *config]
    assert type(back["algo"]["gamma"]) is float  # 1.0, not 1
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"a: [1, 2", "not YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "not YAML"),
        (b"- 1\n- 2\n", "not a configuration"),
        (b"", "not a configuration"),
        (b"seed: \xff\xfe", "not a configuration"),
    ],
)
def test_unreadable_configuration_is_refused_and_the_error_names_the_file(tmp_path, content, why):
    if content is not None:
        (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        run_folder.read_config(tmp_path)
    assert why in caught.value.what
    assert "\n" not in caught.value.what
    assert caught.value.where == str(tmp_path / "config.yaml")


def test_status_round_trips_with_pid_and_time(tmp_path):
    run_folder.write_status(tmp_path, state="running", step=5, eval_return=None)
    run_folder.write_status(tmp_path, state="completed", step=9, eval_return=1.5)
    status = run_folder.read_status(tmp_path)
    assert status == json.loads((tmp_path / "status.json").read_text())
    updated = datetime.datetime.fromisoformat(status.pop("updated"))
    assert updated.tzinfo is not None
    assert abs(datetime.datetime.now().astimezone() - updated) < datetime.timedelta(minutes=1)
    assert status == {"state": "completed", "step": 9, "eval_return": 1.5, "pid": os.getpid()}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe"])
def test_missing_or_broken_status_is_read_as_empty(tmp_path, content):
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)
    assert run_folder.read_status(tmp_path) == {}


@pytest.mark.parametrize("owner", [True, False])  # its absence: a copy without hidden files
@pytest.mark.parametrize(
    ("how", "state"), [("runs", "running"), ("ended", "died"), ("zombie", "died")]
)
def test_run_whose_process_ended_without_a_status_is_read_as_died(tmp_path, how, state, owner):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGABRT)" if how != "runs" else "input()"
    child = subprocess.Popen([sys.executable, "-Sc", code], stdin=subprocess.PIPE)
    fields = {"pid": child.pid, "host": socket.gethostname(), "started": "", "born": None}
    if owner:
        fields["born"] = folder_lock.Owner.this_process().born  # of another process with its pid
        if how != "ended":
            fields["born"] = folder_lock._start_ticks(child.pid)
        (tmp_path / folder_lock.OWNER).write_text(json.dumps(fields))
    written = {"state": "running", "step": 0, "reason": "", "pid": child.pid}
    (tmp_path / "status.json").write_text(json.dumps(written))
    (tmp_path / "checkpoints" / "000000050").mkdir(parents=True)
    if how == "zombie":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    elif how == "ended":
        child.wait()
    status = run_folder.read_status(tmp_path)
    child.communicate()
    assert (status["state"], status["step"]) == (state, 50)
    assert json.loads((tmp_path / "status.json").read_text()) == written


def test_run_on_another_host_is_not_known_to_have_died(tmp_path):
    fields = {"pid": 2**22 + 1, "host": "elsewhere", "started": "", "born": 1}
    (tmp_path / folder_lock.OWNER).write_text(json.dumps(fields))
    written = {"state": "running", "step": 0, "pid": 2**22 + 1}
    (tmp_path / "status.json").write_text(json.dumps(written))
    assert run_folder.read_status(tmp_path)["state"] == "running"


def test_results_on_a_run_lie_outside_of_it(tmp_path, monkeypatch):
    run = tmp_path / "project" / "mine"
    checkpoint = run / "checkpoints" / "000000100"
    hub = tmp_path / "hub"
    usual = tmp_path / "runs/ppo/cartpole/mine"
    for folder in (checkpoint, run / "videos", hub, usual):
        folder.mkdir(parents=True)
    for here, of, root in (
        (tmp_path, checkpoint, Path()), (run.parent, checkpoint, Path()), (run, checkpoint, run.parent),
        (checkpoint, checkpoint, run.parent), (run / "videos", checkpoint, run.parent),
        (hub, checkpoint, Path()), (hub, hub, tmp_path), (tmp_path, hub, Path()), (run, run, run.parent),
        (run / "checkpoints", run / "checkpoints", run.parent), (usual, usual, tmp_path), (usual, usual / "checkpoints/000000100", tmp_path),
    ):  # fmt: skip
        monkeypatch.chdir(here)
        assert run_folder.output_root(of) == root


def test_results_on_several_runs_lie_outside_of_each(tmp_path, monkeypatch):
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    for runs in ((outer, inner), (inner, outer), (outer,)):
        assert run_folder.output_root(*runs) == tmp_path


def test_name_given_by_a_person_is_not_taken_for_a_generated_one(here, frozen):
    assert run_folder.is_new_name(create().name)
    assert not any(map(run_folder.is_new_name, ("mine", "20310203", "20310203-120405_s3", "final")))
