"""The training loop: exact budgets, triggers, early stopping, reproducibility, resume."""

from __future__ import annotations

import csv
import hashlib
import json
import signal

import numpy as np
import pytest
import safetensors.numpy

from rl_cli.core.errors import NonFinite
from rl_cli.storage import checkpoint_reader, manifest
from tests import probe_envs
from tests.config.test_config import compose
from tests.runs import train

ALGOS = ("dqn", "ppo", "reinforce")
SMALL = {
    "dqn": ["algo.learning_starts=50", "algo.batch_size=16"],
    "ppo": ["algo.rollout_length=20", "algo.minibatch_size=16"],
    "reinforce": ["algo.episodes_per_update=2"],
}


def run(here, name, *overrides, algo="dqn", env="cartpole"):
    """Train in this process; -> (outcome, the run's folder)."""
    config = compose(f"algo={algo}", f"env={env}", "hparams=none", *SMALL[algo], *overrides)
    config["run_dir"] = str(here / name)
    return train(config, (algo, env)), here / name


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def contents(folder, step=None):
    """SHA-256 of every array and number of a checkpoint, without times and collected metrics."""
    path = checkpoint_reader.find(folder, "latest" if step is None else str(step))
    digest = hashlib.sha256()
    for name in (manifest.POLICY, manifest.STATE):
        arrays = safetensors.numpy.load((path / name).read_bytes())
        for key in sorted(arrays):
            if not key.startswith("callbacks.metrics.gathered"):
                digest.update(key.encode() + arrays[key].tobytes())
    state = json.loads((path / manifest.STATE_JSON).read_text())
    state.pop("elapsed")
    state["callbacks"].pop("metrics")  # how much is collected depends on the log interval
    digest.update(json.dumps(state, sort_keys=True).encode())
    return digest.hexdigest()


def weights(folder):
    return safetensors.numpy.load((checkpoint_reader.find(folder) / manifest.POLICY).read_bytes())


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("algo", ALGOS)
@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_run_ends_exactly_at_total_timesteps(here, tiny, algo, num_envs):
    outcome, folder = run(
        here, "r", *tiny, "total_timesteps=250", f"env.num_envs={num_envs}", algo=algo
    )
    assert outcome.step == 250
    assert int(rows(folder / "metrics.csv")[-1]["step"]) == 250
    assert (folder / "checkpoints/000000250").is_dir()


def test_run_writes_the_documented_files(here):
    overrides = ["total_timesteps=400", "eval.every=200", "eval.episodes=3", "log.every=100"]
    outcome, folder = run(
        here, "r", *overrides, "checkpoint.every=100", "video.every=200", "quiet=true"
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoints", "config.yaml", "eval.csv", "metrics.csv", "provenance.json", "status.json", "tb",
        "videos",
    ]  # fmt: skip
    assert [int(r["step"]) for r in rows(folder / "metrics.csv")] == [100, 200, 300, 400]
    evaluations = rows(folder / "eval.csv")
    assert [(int(r["step"]), int(r["episode"]), int(r["seed"])) for r in evaluations] == [
        (step, i, 10_000 + i) for step in (200, 400) for i in range(3)
    ]
    assert sorted(p.name for p in (folder / "videos").iterdir()) == [
        "step_000000200_episode_0.mp4",
        "step_000000400_episode_0.mp4",
    ]
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["step"], status["exit_code"]) == ("completed", 400, 0)
    last = [float(r["episode_return"]) for r in evaluations if r["step"] == "400"]
    assert outcome.eval_return == pytest.approx(np.mean(last))
    best = json.loads((folder / "checkpoints/best.json").read_text())
    kept = manifest.steps_in(folder / "checkpoints")
    assert set(kept) >= {300, 400, best["step"]}  # the last two, and the best
    assert len(kept) <= 3


@pytest.mark.parametrize("algo", ALGOS)
def test_evaluation_video_and_logging_change_no_weight(here, tiny, algo):
    """Evaluation, video, TensorBoard, logging and checkpoints draw from no random stream of training."""
    base = [*tiny, "env.num_envs=2", "env.normalize_obs=true", "total_timesteps=300"]
    _, plain = run(here, "plain", *base, "eval.every=0", "checkpoint.every=0", algo=algo)
    observing = ["eval.every=50", "video.every=100", "video.episodes=1", "log.tensorboard=true"]
    observing += ["checkpoint.every=30", "log.every=20", "eval.greedy=false", "quiet=false"]
    _, observed = run(here, "observed", *base, *observing, algo=algo)
    assert same_weights(plain, observed)
    _, other = run(here, "other", *base, "seed=1", algo=algo)
    assert not same_weights(plain, other)


@pytest.mark.parametrize("algo", ALGOS)
@pytest.mark.parametrize("env", ["cartpole", "lunarlander"])
def test_resumed_run_equals_an_uninterrupted_one(here, tiny, algo, env):
    """Bit for bit. The signal arrives in the middle of an episode and of a rollout."""
    base = [*tiny, "total_timesteps=500", "env.num_envs=2", "env.normalize_obs=true"]
    base += ["env.normalize_reward=true", "eval.every=0"]
    _, whole = run(here, "whole", *base, algo=algo, env=env)
    folder = here / "halves"
    config = compose(f"algo={algo}", f"env={env}", "hparams=none", *SMALL[algo], *base)
    stopped = train(
        config | {"run_dir": str(folder), "total_timesteps": 500} | stop_at(233), (algo, env)
    )
    assert (stopped.exit_code, stopped.state) == (130, "interrupted")
    assert stopped.step == 234
    resumed = train(config | {"resume": str(folder)}, (algo, env))
    assert (resumed.step, resumed.exit_code) == (500, 0)
    assert contents(folder) == contents(whole)
    timeless = [
        [
            {k: v for k, v in row.items() if not k.startswith("time/")}
            for row in rows(f / "metrics.csv")
        ]
        for f in (whole, folder)
    ]
    assert timeless[0] == timeless[1]


_raise_at: list[int] = []


def stop_at(step):
    """Make the next run raise SIGINT at an env step. -> {}, to be merged into its configuration."""
    _raise_at[:] = [step]
    return {}


@pytest.fixture(autouse=True)
def signal_by_step(monkeypatch):
    """Raise the signal of `stop_at` inside `VectorEnv.step`, by the step and not by time."""
    from rl_cli.envs.vector import VectorEnv

    _raise_at.clear()
    original_step, count = VectorEnv.step, [0]

    def step(self, action):
        count[0] += len(action)
        if _raise_at and count[0] >= _raise_at[0]:
            _raise_at.clear()
            signal.raise_signal(signal.SIGINT)
        return original_step(self, action)

    def reset(self):
        count[0] = 0
        return original_reset(self)

    original_reset = VectorEnv.reset
    monkeypatch.setattr(VectorEnv, "step", step)
    monkeypatch.setattr(VectorEnv, "reset", reset)


def test_ctrl_c_saves_a_checkpoint_and_prints_the_resume_command(here, tiny, capsys):
    stop_at(120)
    outcome, folder = run(here, "r", *tiny, "quiet=false")
    assert outcome.exit_code == 130
    out = capsys.readouterr().out
    assert "stopped by SIGINT at step 120" in out
    assert "rl-train resume=r" in out
    checkpoint_reader.read_policy(
        c := checkpoint_reader.find(folder), checkpoint_reader.read_manifest(c)
    )
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize(
    ("overrides", "step", "reason"),
    [
        # a constant reward of 1 per one-step episode: every mean is 1
        (["stop.eval_return=1", "eval.every=100"], 100, "stop.eval_return=1"),
        (["stop.train_return=1", "stop.window=30"], 30, "stop.train_return=1"),
        (["stop.train_return=1.1", "stop.window=30"], 400, "budget"),
    ],
)
def test_run_stops_at_its_threshold(here, tiny, overrides, step, reason):
    config = compose("algo=dqn", "env=custom", "env.id=ProbeConstant-v0", *tiny, *overrides)
    outcome = train(config | {"run_dir": str(here / "r")}, ("dqn", "probe"))
    assert outcome.step == step
    assert reason in outcome.reason


def test_env_that_cannot_be_rendered_is_reported_in_one_line(here, tiny, capsys):
    config = compose("algo=dqn", "env=custom", "env.id=ProbeConstant-v0", *tiny, "quiet=false")
    config["video"] |= {"every": 100, "episodes": 1}
    outcome = train(config | {"run_dir": str(here / "r")}, ("dqn", "probe"))
    assert outcome.exit_code == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "no videos" in line]
    assert len(lines) == 1
    assert not list((here / "r").glob("videos/*"))


@pytest.mark.parametrize("algo", ALGOS)
def test_non_finite_values_end_the_run_and_are_in_no_checkpoint(here, tiny, algo):
    with pytest.raises(NonFinite) as caught:
        run(here, "r", *tiny, "env.id=ProbeExplodes-v0", algo=algo, env="custom")
    assert caught.value.exit_code == 3
    for step in manifest.steps_in(here / "r/checkpoints"):
        path = checkpoint_reader.find(here / "r", str(step))
        checkpoint_reader.read_policy(
            path, checkpoint_reader.read_manifest(path)
        )  # raises if a value is not finite
    assert json.loads((here / "r/status.json").read_text())["state"] == "failed"


def test_resumed_run_repeats_an_interrupted_evaluation(here, tiny, monkeypatch):
    """Signals between two evaluation episodes: eval.csv equals that of an uninterrupted run."""
    from rl_cli.evaluation.evaluator import Evaluator

    base = [*tiny, "total_timesteps=300", "eval.every=100", "eval.episodes=4"]
    _, whole = run(here, "whole", *base)
    original, count = Evaluator.episode, [0]

    def episode(self, *args):
        count[0] += 1
        if count[0] in (6, 12):  # in the evaluation at step 200; then in the last one
            signal.raise_signal(signal.SIGINT)
        return original(self, *args)

    monkeypatch.setattr(Evaluator, "episode", episode)
    outcome, folder = run(here, "halves", *base)
    assert (outcome.exit_code, outcome.step) == (130, 200)
    config = compose("algo=dqn", "env=cartpole", "hparams=none", *SMALL["dqn"], *base)
    outcome = train(config | {"resume": str(folder)}, ("dqn", "cartpole"))
    assert (outcome.exit_code, outcome.step) == (130, 300)
    outcome = train(config | {"resume": str(folder)}, ("dqn", "cartpole"))
    assert (outcome.exit_code, outcome.step) == (0, 300)
    assert rows(folder / "eval.csv") == rows(whole / "eval.csv")
    assert same_weights(folder, whole)


def test_inexact_resume_names_the_envs(here, tiny, capsys, monkeypatch):
    """The observations of this env depend on more than its seed and actions."""
    import gymnasium as gym

    class Drifting(probe_envs.Probe):
        made = 0

        def __init__(self, render_mode=None):
            super().__init__(render_mode)
            Drifting.made += 1
            self.drift, self.age = 0.01 * Drifting.made, 0

        def step(self, action):
            self.age += 1
            obs = np.array([self.drift * self.age], np.float32)
            return obs, 1.0, self.age % 40 == 0, False, {}

    gym.register("Drifting-v0", Drifting)
    config = compose("algo=ppo", "env=custom", "env.id=Drifting-v0", *tiny, *SMALL["ppo"])
    config["env"]["num_envs"] = 2
    stop_at(110)
    assert train(config | {"run_dir": str(here / "r")}, ("ppo", "d")).exit_code == 130
    config["quiet"] = False
    assert train(config | {"resume": str(here / "r")}, ("ppo", "d")).exit_code == 0
    out = capsys.readouterr().out
    assert "resume is not bit-exact: replaying the episode of Drifting-v0 did not reproduce" in out
    assert "(env 0, 1)" in out
    assert "resuming at step 110" in out
    (resumed,) = json.loads((here / "r/status.json").read_text())["resumed"]
    (words,) = resumed.pop("differs")
    assert words.startswith("replaying the episode of Drifting-v0 did not reproduce")
    assert resumed == {"step": 110, "changed": {}, "exact": False}
