"""What a resume needs: observations of any dtype, the first step, and an interruption of the resume itself."""

from __future__ import annotations

import signal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import BadInput
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage import run_folder
from rl_cli.training import exactness
from tests.config.test_config import compose
from tests.runs import train
from tests.training.test_trainer import SMALL, contents, run, signal_by_step, stop_at

__all__ = ["signal_by_step"]

DTYPES = ("float16", "float32", "float64", "int8", "int64")


class Drifts(gym.Env):
    """A walk whose observations have a dtype of their own; an episode has nine steps."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)

    def __init__(self, dtype="float32", parts=False, render_mode=None):
        box = spaces.Box(-100, 100, (3,), np.dtype(dtype))
        self.parts, self.render_mode = parts, render_mode
        self.observation_space = spaces.Dict(a=box, b=spaces.Discrete(4)) if parts else box
        self.dtype = box.dtype

    def _obs(self):
        obs = (self.place * 10).astype(self.dtype)
        return {"a": obs, "b": np.int64(self.count % 4)} if self.parts else obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.count = self.np_random.normal(size=3), 0
        return self._obs(), {}

    def step(self, action):
        self.place = np.clip(self.place + self.np_random.normal(size=3) + action / 10, -9, 9)
        self.count += 1
        return self._obs(), float(self.place[0]), self.count == 9, False, {}


gym.register("TestDrifts-v0", Drifts)
gym.register("TestDrifts64-v0", Drifts, kwargs={"dtype": "float64"})


def drifting(tiny, **kwargs):
    words = [f"++env.kwargs.{key}={value}" for key, value in kwargs.items()]
    words = [*tiny, "env.id=TestDrifts-v0", *words, "env.num_envs=2", "eval.every=50"]
    return [*words, "total_timesteps=120", "checkpoint.every=0", "checkpoint.keep=9"]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", [False, True])
def test_resume_is_exact_with_observations_of_any_dtype(here, tiny, dtype, normalized, parts):
    words = drifting(tiny, dtype=dtype, parts=str(parts).lower())
    words += [f"env.normalize_obs={str(normalized).lower()}"]
    _, whole = run(here, "whole", *words, algo="ppo", env="custom")
    stop_at(63)
    stopped, halves = run(here, "halves", *words, algo="ppo", env="custom")
    assert (stopped.state, stopped.step) == ("interrupted", 64)
    config = compose("algo=ppo", "env=custom", "hparams=none", *SMALL["ppo"], *words)
    assert train(config | {"resume": str(halves)}, ("ppo", "custom")).step == 120
    assert run_folder.read_status(halves)["resumed"][0]["exact"] is True
    assert contents(halves) == contents(whole)


def test_resume_before_the_first_step_is_exact(here, tiny, monkeypatch):
    """The first observations count once in the statistics of the normalization."""
    words = [*drifting(tiny), "env.normalize_obs=true"]
    _, whole = run(here, "whole", *words, algo="ppo", env="custom")
    reset = VectorEnv.reset

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        reset(self)

    with monkeypatch.context() as patch:
        patch.setattr(VectorEnv, "reset", interrupted)
        stopped, early = run(here, "early", *words, algo="ppo", env="custom")
    assert (stopped.state, stopped.step) == ("interrupted", 0)
    config = compose("algo=ppo", "env=custom", "hparams=none", *SMALL["ppo"], *words)
    train(config | {"resume": str(early)}, ("ppo", "custom"))
    assert contents(early) == contents(whole)


@pytest.mark.parametrize("how", ["refused", "interrupted"])
def test_resume_that_did_not_begin_can_be_repeated(here, tiny, monkeypatch, how):
    """It changes no file; the next one does not take the run for complete."""
    words = [*drifting(tiny), "eval.every=0"]
    _, folder = run(here, "run", *words, algo="ppo", env="custom")
    before = (folder / "config.yaml").read_bytes()
    config = compose("algo=ppo", "env=custom", "hparams=none", *SMALL["ppo"], *words)
    config |= {"resume": str(folder), "total_timesteps": 150}
    if how == "refused":
        rows = (folder / "metrics.csv").read_bytes()
        (folder / "metrics.csv").write_text("a,b\n1,2\n")
        with pytest.raises(BadInput):
            train(config, ("ppo", "custom"))
        (folder / "metrics.csv").write_bytes(rows)
    else:

        def interrupted(self, state):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(VectorEnv, "load_state_dict", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(config, ("ppo", "custom"))
    assert (folder / "config.yaml").read_bytes() == before
    assert train(config, ("ppo", "custom")).step == 150
    assert b"total_timesteps: 150" in (folder / "config.yaml").read_bytes()


def test_budget_that_cuts_a_step_of_the_envs_is_named(here, tiny):
    """The last of 121 steps moves one of two envs; a run of the longer budget moves both."""
    words = [*drifting(tiny), "total_timesteps=121"]
    _, folder = run(here, "run", *words, algo="reinforce", env="custom")
    config = compose("algo=reinforce", "env=custom", "hparams=none", *SMALL["reinforce"], *words)
    train(config | {"resume": str(folder), "total_timesteps": 140}, ("reinforce", "custom"))
    (now,) = run_folder.read_status(folder)["resumed"]
    assert now["differs"] == ["total_timesteps 121 before is no multiple of env.num_envs=2"]
    changed = {"total_timesteps": (120, 140)}
    assert exactness.cut_step(2, 120, changed) == exactness.cut_step(7, 112, changed) == ""
    assert exactness.cut_step(2, 121, {"threads": (1, 2)}) == ""


def test_configuration_that_could_not_be_read_again_is_refused_first(here, tiny):
    config = compose("algo=ppo", "env=custom", "hparams=none", *drifting(tiny))
    config |= {
        "run_dir": str(here / "run"),
        "env": {**config["env"], "kwargs": {"dtype": "x" * 70_000}},
    }
    with pytest.raises(BadInput, match="too long"):
        train(config, ("ppo", "custom"))
    assert not (here / "run").exists()
