"""The real package huggingface_hub with a server of this machine: what arrives there, and what is read back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.export.hub_server import HubServer

pytest.importorskip("huggingface_hub")
EXPORT = "from rl_cli.cli.entry import export; export()"
EVAL = "from rl_cli.cli.entry import evaluate; evaluate()"
FETCH = """import sys, huggingface_hub
print(huggingface_hub.snapshot_download("me/agent", local_dir=sys.argv[1]))"""


@pytest.fixture
def server():
    with HubServer() as server:
        yield server


@pytest.fixture
def program(server, run):
    """A function that runs Python code as a user of the server does."""

    def ran(code, *words, token="hf_x", address=None):
        names = {
            **{"HF_ENDPOINT": address or server.url, "HF_HOME": str(run / "hf")},
            **{"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        }
        variables = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | names
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            env=variables | ({"HF_TOKEN": token} if token else {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return ran


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_push_and_what_comes_back(server, program, run):
    words = ["run", "format=hub", "hub.episodes=3", "hub.push=me/agent", "hub.private=true"]
    ran = program(EXPORT, *words, "output=out")
    assert ran.returncode == 0, ran.stderr
    repository = server.repositories["me/agent"]
    assert f"pushed: {server.url}/me/agent/commit/" in ran.stdout
    assert repository.visibility == "private"
    assert repository.files == files_of(run / "out/hub")
    assert {"README.md", "evaluation.json", "replay.mp4"} < set(repository.files)
    assert repository.commits == ["dqn on CartPole-v1, step 150"]
    tokens = [t for _, path, t in server.requests if "/repos/" in path or "me/agent" in path]
    assert set(tokens) == {"Bearer hf_x"}

    fetched = program(FETCH, str(run / "fetched"))
    assert fetched.returncode == 0, fetched.stderr
    assert files_of(run / "fetched") == repository.files
    shutil.rmtree(run / "run")
    evaluated = program(EVAL, "fetched", "episodes=3", "output=evaluated")
    assert evaluated.returncode == 0, evaluated.stderr
    returns = [
        [episode["return"] for episode in json.loads((run / path).read_text())["episodes"]]
        for path in ("fetched/evaluation.json", "evaluated/evaluation.json")
    ]
    assert returns[0] == returns[1]


def test_second_push_leaves_no_other_checkpoint(server, program, run):
    words = ["run", "format=hub", "hub.episodes=1", "hub.push=me/agent", "output=out"]
    assert program(EXPORT, *words).returncode == 0
    files = server.repositories["me/agent"].files
    stale = {name.replace("checkpoints/0", "checkpoints/9"): v for name, v in files.items()}
    files.clear()
    files.update(stale, **{"notes.txt": b"mine"})
    assert program(EXPORT, *words).returncode == 0
    assert files == {**files_of(run / "out/hub"), "notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("how", "code", "advice"),
    [
        ("unknown token", 401, "the Hub does not know this token"),
        ("no right", 403, "the token may not write there"),
        ("no server", 0, "hf upload me/agent"),
        ("no token", 0, "hf auth login"),
    ],
)
def test_push_that_fails_prints_three_lines(how, code, advice, server, program, run):
    server.refuses = code
    words = ["run", "format=hub", "hub.episodes=1", "hub.push=me/agent", "output=out"]
    address = "http://127.0.0.1:9" if how == "no server" else None
    ran = program(EXPORT, *words, token=None if how == "no token" else "hf_x", address=address)
    assert ran.returncode == (2 if how == "no token" else 1)
    error = ran.stderr[ran.stderr.index("error: ") :].splitlines()
    assert [line[:2] for line in error] == ["er", "  ", "  "]
    assert error[2].startswith("  do: ")
    assert advice in error[2]
    assert "hf_x" not in ran.stderr + ran.stdout
    assert (run / "out/hub/README.md").exists() == (how != "no token")
