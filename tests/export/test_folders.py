"""Formats that are folders: hub, which rl-eval reads, and minari; and the command line of a real run."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces

import rl_cli
from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import export as rl_export
from rl_cli.core.errors import BadInput, RunError
from rl_cli.export import base, names
from rl_cli.export.formats.hub import Hub
from rl_cli.export.formats.minari import Minari
from rl_cli.storage import run_names
from rl_cli.storage.checkpoint_reader import read_manifest
from tests.export.agents import make_agent, make_context


def test_hub_folder_is_read_back_and_says_what_it_does(run, monkeypatch, capsys):
    assert rl_export.run(["run", "format=hub", "hub.episodes=3"]) == 0
    (hub,) = run.glob("runs/exports/*/hub")
    (checkpoint,) = (hub / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.iterdir()} == {"manifest.json", "policy.safetensors"}
    assert not read_manifest(checkpoint).has_state
    values = json.loads((hub / "evaluation.json").read_text())
    assert rl_eval.run([str(hub), "episodes=3", "display=none"]) == 0
    (path,) = run.glob("runs/evals/*/evaluation.json")
    again = json.loads(path.read_text())
    assert again["episodes"] == values["episodes"]
    card = (hub / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    (entry,) = yaml.safe_load(front)["model-index"]
    metric = entry["results"][0]["metrics"][0]["value"]
    summary = values["summary"]
    assert metric == f"{summary['mean']:.2f} +/- {summary['std']:.2f}"
    assert f"{summary['iqm_low']:.2f} to {summary['iqm_high']:.2f}" in body
    assert (hub / "replay.mp4").stat().st_size > 1000
    assert list(run_names.runs(run / "runs")) == []  # an export is no run: `latest` passes it over
    assert (hub / "run_config.yaml").read_text() == (run / "run/config.yaml").read_text()
    assert "Training evaluated with other seeds" in body
    assert str(run) not in card + json.dumps(values)  # no path of this machine
    agent = rl_cli.load(str(hub))
    assert agent.act(agent.observation_space.sample()) in agent.action_space
    (hub / ".git").mkdir()
    assert rl_export.run(["run", "format=hub"]) == 2  # it would be deleted
    assert (hub / ".git").exists()


class Api:
    """What huggingface_hub offers; it notes what it is called with."""

    calls = []  # noqa: RUF012

    def create_repo(self, repository, **options):
        self.calls.append((repository, options))

    def upload_folder(self, **options):
        self.calls.append(sorted(p.name for p in options["folder_path"].iterdir()))
        if options["repo_id"] == "me/refused":
            raise ConnectionError("403 Forbidden\nwith a page")
        return "https://hub/me/agent"


def test_push_needs_a_token_and_sends_the_folder(tmp_path, monkeypatch, capsys):
    context = make_context(make_agent("dqn", "CartPole-v1"), tmp_path)
    module = SimpleNamespace(get_token=lambda: None, HfApi=Api)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(BadInput, match="token"):
        Hub(context, push="me/agent")
    with pytest.raises(BadInput, match="repository"):
        Hub(context, push="agent")
    module.get_token = lambda: "hf_x"
    exporter = Hub(context, push="me/agent", private=True)
    monkeypatch.setattr(exporter, "_write", lambda part: (part / "checkpoints").mkdir(parents=True))
    exporter.export()
    assert Api.calls == [("me/agent", {"private": True, "exist_ok": True}), ["checkpoints"]]
    assert "pushed: https://hub/me/agent" in capsys.readouterr().out
    exporter.repository = "me/refused"
    with pytest.raises(RunError, match="403 Forbidden") as failed:
        exporter.export()
    assert "\n" not in failed.value.what
    assert (tmp_path / "hub/checkpoints").is_dir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInput) as refused:
        Hub(context, push="me/agent")
    assert "rl-cli[hub]" in refused.value.fix


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        ("NoiseDiscrete-v0", {"frame_stack": 3}),
        ("NoiseDouble-v0", {"scale_actions": True, "normalize_obs": True}),
        ("NoisePixels-v0", {"grayscale": True, "frame_stack": 2}),
    ],
)
def test_dataset_holds_what_the_plain_env_does(env_id, changes, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    agent = make_agent("ppo", env_id, changes)
    context = make_context(agent, tmp_path)
    for _ in range(2):  # the second one replaces the first
        (path,) = Minari(context, episodes=3, greedy=False, dataset="noise/test-v3").export()
    assert path == tmp_path / "minari/noise/test-v3"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    dataset = minari.load_dataset("noise/test-v3")
    env = gym.make(env_id)
    assert dataset.total_episodes == 3
    assert dataset.action_space == env.action_space
    for episode in dataset:
        obs, _ = env.reset(seed=context.seed + int(episode.id))
        for i, action in enumerate(episode.actions):
            assert (obs == episode.observations[i]).all()
            obs, reward, terminated, truncated, _ = env.step(action)
            assert (reward, terminated, truncated) == (
                episode.rewards[i], episode.terminations[i], episode.truncations[i],
            )  # fmt: skip
        assert terminated or truncated
        assert len(episode.observations) == len(episode.actions) + 1
    assert len({np.asarray(episode.actions).tobytes() for episode in dataset}) > 1


@pytest.mark.parametrize("name", ["", "dqn", "a/../b-v0", "/tmp/x-v0", "a b-v0"])
def test_dataset_names(name, tmp_path):
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    context = make_context(make_agent("dqn", "CartPole-v1"), tmp_path)
    if name == "":
        assert Minari(context).name == "cartpole/dqn-v0"
    else:
        with pytest.raises(BadInput, match="no name of a dataset"):
            Minari(context, dataset=name)


@pytest.mark.parametrize("space", [spaces.Sequence(spaces.Discrete(3)), spaces.Space()])
def test_space_that_a_dataset_cannot_hold_is_refused_before_an_episode_is_played(space, tmp_path):
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    agent = make_agent("dqn", "CartPole-v1")
    agent.observation_space = spaces.Dict(seen=space, speed=spaces.Box(0, 1, (4,)))
    with pytest.raises(BadInput, match="cannot store the observations of CartPole-v1"):
        Minari(make_context(agent, tmp_path))


BAD = {
    "no format": (["run"], "one or more of: c, html, hub, minari, onnx, pt2"),
    "torchscript": (["run", "format=torchscript"], "use format=pt2"),
    "misspelt": (["run", "format=c,hmtl"], "did you mean html"),
    "unknown setting": (["run", "format=hub", "hub.episods=3"], "settings: episodes, push, private"),
    "value": (["run", "format=hub", "hub.episodes=none"], "at least 1"),
    "not exported": (["run", "format=c", "hub.push=me/x"], "add format=hub"),
    "no group": (["run", "format=c", "++hub=3"], "hub"),
    "no run": (["nowhere", "format=c"], "no such folder"),
    "two runs": (["other", "another", "format=c"], "one run at a time"),
    "key": (["run", "formt=c"], "did you mean format"),
    "file as folder": (["run", "format=c", "output=run/config.yaml"], "cannot write here"),
    "not classic": (["run", "format=html", "env.id=FrozenLake-v1"], "do:"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_three_lines(case, run, capsys):
    words, expected = BAD[case]
    assert rl_export.run(words) == 2
    out, err = capsys.readouterr()
    assert expected in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 3
    assert not out
    assert not list(run.glob("runs/exports/*/*"))


def test_an_env_that_fails_leaves_samples_of_its_space(tmp_path, monkeypatch, capsys):
    agent = make_agent("ppo", "NoiseBounded-v0")
    context = make_context(agent, tmp_path)

    def fail(*args):
        raise RuntimeError("no display")

    monkeypatch.setattr("tests.export.agents.Noise.step", fail)
    assert context.recorded.origin == "256 samples of the observation space"
    assert context.recorded.obs.shape == (256, 3)
    assert "no display" in capsys.readouterr().err


def test_formats_of_another_package(monkeypatch, run, capsys):
    """An entry point of the group rl_cli.exporters: one class with its settings."""

    class Text(base.Exporter):
        def __init__(self, context, suffix="txt"):
            super().__init__(context)
            self.suffix = suffix

        def export(self):
            path = self.context.output / f"policy.{self.suffix}"
            path.write_text(json.dumps(self.context.facts()))
            return [path]

    entry = SimpleNamespace(name="text", load=lambda: Text)
    monkeypatch.setattr("rl_cli.core.plugins._installed", lambda group: {"text": entry})
    assert "text" in names()
    assert rl_export.run(["run", "format=text", "text.suffix=md", "output=out"]) == 0
    assert json.loads((run / "out/policy.md").read_text())["env"] == "CartPole-v1"
    rl_export.run(["--help"])
    assert "text" in capsys.readouterr().out
