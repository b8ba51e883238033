"""B5: opening a hostile run folder executes nothing, writes nothing outside the run and reveals no secret.

Each case builds a hostile folder (hostile_folders.py) and runs both commands on it in an audited child process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from tests.bars.audit import run_audited
from tests.bars.hostile_folders import GOLDEN, GROUPS, SECRET, HostileFolder, Payload
from tests.bars.results import report
from tests.conftest import FULL

COMMANDS = {
    "rl-eval": (rl_eval.run, ["checkpoint=latest", "episodes=1"]),
    "rl-train": (rl_train.run, ["total_timesteps=4010"]),
}
CASES = [
    pytest.param(group, *row[1:], id=row[0])
    for group, (quick, rows) in GROUPS.items()
    for row in (rows if FULL else rows[:quick])
]


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """Import everything before children are forked."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("warm"))
    shutil.copytree(GOLDEN, "run")
    assert rl_eval.run(["run", *COMMANDS["rl-eval"][1]]) == 0
    assert rl_train.run(["resume=run", *COMMANDS["rl-train"][1], "quiet=true"]) == 0
    os.chdir(before)


@pytest.mark.parametrize(("group", "expected", "make"), CASES)
def test_hostile_folder_has_no_effect(tmp_path, monkeypatch, request, group, expected, make):
    monkeypatch.setenv("RL_SECRET", SECRET)
    for (name, (run, args)), code in zip(COMMANDS.items(), expected, strict=True):
        place = HostileFolder(tmp_path / name)
        make(place)
        folder = place.run.name
        argv = [folder if name == "rl-eval" else f"resume={folder}", *args]
        may_write = [place.root / "runs"] if name == "rl-eval" else [place.run]
        done = run_audited(functools.partial(run, argv), place.root, may_write)
        output = done.stdout + done.stderr
        assert [e for e in done.events if not is_git(e, place.root)] == []
        assert not place.canary.exists()
        assert place.victim.read_text() == "mine"
        assert SECRET not in output
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output), repr(output)
        assert done.exit_code == code, output
        if code == 2:
            first, second, *_ = done.stderr.splitlines()
            assert first.startswith("error: ")
            assert second.startswith("  where: ")
            assert len(done.stderr.splitlines()) <= 12
            assert done.stdout == ""
        assert done.cpu_seconds <= 2
        assert done.memory_mb <= 200
    report(5, 1, 1, f"{group}: {request.node.callspec.id}")


def is_git(event, folder):
    """Whether an event is the question to git about the user's own folder, without hooks of a monitor."""
    start = f"subprocess.Popen ('git', ['git', '-C', '{folder}', '-c', 'core.fsmonitor=false', "
    return event.startswith(start)


WHOLE_PROCESS = """
import shutil
from rl_cli.cli.{module} import main
try:
    main()
finally:
    shutil.copyfile("/proc/self/status", {memory!r})
"""
WHOLE_PROCESS_CASES = ("mujoco-planted", "id-evil", "aliases", "huge-shape", "sparse", "wide-json")


@pytest.mark.skipif(not FULL, reason="long form only: starts two processes per case")
@pytest.mark.parametrize("name", WHOLE_PROCESS_CASES)
def test_whole_process_on_a_hostile_folder_needs_at_most_500_mb(tmp_path, name):
    """Including imports."""
    cases = {row[0]: row for _, rows in GROUPS.values() for row in rows}
    _, expected, make = cases[name]
    for (program, (_, args)), code in zip(COMMANDS.items(), expected, strict=True):
        place = HostileFolder(tmp_path / program)
        make(place)
        module = {"rl-eval": "evaluate", "rl-train": "train"}[program]
        source = WHOLE_PROCESS.format(module=module, memory=str(tmp_path / "memory"))
        word = "run" if program == "rl-eval" else "resume=run"
        words = [sys.executable, "-I", "-c", source, word, *args]
        done = subprocess.run(words, cwd=place.root, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert not place.canary.exists()
        most = int((tmp_path / "memory").read_text().split("VmHWM:")[1].split()[0]) // 1024
        assert most <= 500
        report(5, 1, 1, f"{program} as a process, {name}: {most} MB of 500")


def test_audit_records_each_forbidden_action(tmp_path):
    place = HostileFolder(tmp_path / "place")

    def misbehave():
        exec(compile("1", str(place.root / "x.py"), "exec"))
        os.system("true")
        place.victim.open("a").close()
        (place.root / "runs").mkdir()
        pickle.loads(pickle.dumps(Payload(os.getpid)))
        with contextlib.suppress(ImportError):
            importlib.import_module("evil")
        return 0

    done = run_audited(misbehave, place.root, [place.root / "runs"])
    assert [event.split()[0] for event in done.events] == [
        "compile", "exec", "os.system", "wrote", "pickle.find_class", "imported",
    ]  # fmt: skip
