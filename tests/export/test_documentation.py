"""The commands and the programs of docs/export.md."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.cli import export as rl_export
from rl_cli.evaluation.agent import load_agent
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.storage import checkpoint_reader
from tests.conftest import FULL, REPO
from tests.documentation import blocks, commands, write_files
from tests.export.agents import make_agent, make_context

MODULES = {"onnx": "onnxruntime", "minari": "h5py"}
WRITTEN = {
    **{"onnx": "policy.onnx", "pt2": "policy.pt2", "c": "policy.h", "html": "index.html"},
    **{"hub": "hub/README.md", "minari": "minari/cartpole/dqn-v0/data/main_data.hdf5"},
    "weights": "weights.npz",
}
SMALL = ("observations=20", "hub.episodes=1", "minari.episodes=1")


def is_slow(words):
    return "format=pt2" in words and not FULL


@pytest.mark.parametrize("words", [c for c in commands("rl-export") if not is_slow(c.values[0])])
def test_export_command_runs(words, run, monkeypatch, capsys):
    words = ["run" if word == "<run>" else word for word in words[1:]]
    formats = re.findall(r"\w+", next((w[7:] for w in words if w.startswith("format=")), ""))
    for name in formats:
        pytest.importorskip(MODULES.get(name, "json"))
    given = [w for w in SMALL if w.split(".")[0] in (*formats, "observations=20")]
    api = SimpleNamespace(create_repo=lambda *a, **k: None, upload_folder=lambda **k: "pushed")
    hub = SimpleNamespace(get_token=lambda: "hf_x", HfApi=lambda: api)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr("rl_cli.evaluation.video.record", no_video)
    if "weights" in formats:
        write_files(run)
        monkeypatch.syspath_prepend(str(run))
        entry = SimpleNamespace(load=lambda: load("my_exporters", "Weights"))
        monkeypatch.setattr("rl_cli.core.plugins._installed", lambda group: {"weights": entry})
    assert rl_export.run(words + given if formats else words) == 0
    for name in formats:
        assert len(list(run.glob(f"**/{WRITTEN[name]}"))) == 1
    assert len(capsys.readouterr().out) > 50


def load(module, name):
    return getattr(__import__(module), name)


def no_video(*args, **kwargs):
    raise VideoUnavailable("not in this test")


def played(run):
    """Return, and observations with their actions, of the agent in Python."""
    agent = load_agent(checkpoint_reader.find(run / "run", "best"), {}, "cpu")
    env, rows, total, is_over = gym.make("CartPole-v1"), [], 0.0, False
    obs, _ = env.reset(seed=0)
    while not is_over:
        rows.append((obs, agent.act(obs)))
        obs, reward, terminated, truncated, _ = env.step(rows[-1][1])
        total, is_over = total + reward, terminated or truncated
    return total, rows


def exported(run, name):
    """Write the programs of the page next to an exported file."""
    words = ["run", f"format={name}", "observations=20", f"output={run}", *SMALL[2:]]
    assert rl_export.run([word for word in words if name == "minari" or word not in SMALL[2:]]) == 0
    write_files(run)
    for _, text in blocks("c"):
        if text.startswith("/* agent.c"):
            (run / "agent.c").write_text(text)


@pytest.mark.parametrize(("name", "module"), [("onnx", "onnxruntime"), ("pt2", "torch")])
def test_program_plays_as_the_agent_does(name, module, run, capsys):
    if name == "pt2" and not FULL:
        pytest.skip("torch.export takes seconds")
    pytest.importorskip(module)
    exported(run, name)
    capsys.readouterr()
    runpy.run_path(f"play_{name}.py")
    assert float(capsys.readouterr().out) == played(run)[0]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_c_program_acts_as_the_agent_does(run):
    exported(run, "c")
    lines = [c.values[0] for c in commands("cc")]
    assert len(lines) == 2
    for words in lines:
        subprocess.run(words, cwd=run, check=True)
    rows = played(run)[1]
    text = "\n".join(" ".join(f"{x:.9g}" for x in obs) for obs, _ in rows)
    ran = subprocess.run([run / "agent"], input=text, capture_output=True, text=True, check=True)
    assert [int(line) for line in ran.stdout.split()] == [int(action) for _, action in rows]
    assert subprocess.run([run / "self_test"], capture_output=True, check=False).returncode == 0


def test_dataset_is_read(run, capsys, monkeypatch):
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")
    exported(run, "minari")
    capsys.readouterr()
    runpy.run_path("read_dataset.py")
    steps, total, shape = capsys.readouterr().out.split(maxsplit=2)
    assert float(total) == int(steps) == int(re.findall(r"\d+", shape)[0]) - 1


def test_sampling_as_the_page_shows_has_the_frequencies_of_the_policy(here):
    """2,000 actions of each; a frequency has a standard deviation of at most 0.011."""
    write_files(here)
    sample = runpy.run_path("sample.py")["sample"]
    agent = make_agent("ppo", "NoiseDiscrete-v0")
    obs = np.array([[0.5, -1.0, 0.2]], np.float32)
    scores = make_context(agent, here).traced.graph.run(obs)["scores"][0]
    rng = np.random.default_rng(0)
    shown = np.bincount([sample(scores, rng) for _ in range(2_000)], minlength=3) / 2_000
    own = np.bincount(agent.predict(obs.repeat(2_000, 0), rng), minlength=3) / 2_000
    assert np.sort(own)[1] > 0.05  # more than one action is likely
    assert abs(shown - own).max() < 0.06


def test_page_names_every_format():
    text = (REPO / "docs/export.md").read_text()
    found = set(re.findall(r"rl-export <run> format=(\w+)", text))
    assert found == {p.stem for p in (REPO / "rl_cli/export/formats").glob("[!_]*.py")}
