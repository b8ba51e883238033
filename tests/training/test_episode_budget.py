"""Budgets and intervals in episodes: exact counts, also after an interruption and a resume."""

from __future__ import annotations

import csv
import json
import signal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import BadInput
from rl_cli.core.seeding import env_seeds, episode_seed
from rl_cli.envs.vector import VectorEnv
from tests.config.test_config import compose
from tests.envs.test_vector import vector
from tests.evaluation.test_video import decoded
from tests.runs import train
from tests.training.test_trainer import contents, rows


class Triple(gym.Env):
    """Three steps of reward 1. The brightness of a frame is the last action: 40 or 200; 0 after a reset."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(0, 99, (1,), np.float32)
    resets: list[int] = []  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode, self.t, self.shade = render_mode, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets.append(seed)
        self.t, self.shade = 0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t, self.shade = self.t + 1, (40, 200)[int(action)]
        return np.full(1, self.t, np.float32), 1.0, self.t == 3, False, {}

    def render(self):
        return np.full((64, 64, 3), self.shade, np.uint8)


class NotDeterministic(Triple):
    """With a render mode, an episode ends after one step."""

    def step(self, action):
        obs, reward, over, cut, info = super().step(action)
        return obs, reward, over or self.render_mode is not None, cut, info


gym.register("TestTriple-v0", Triple, reward_threshold=3.0)
gym.register("TestNotDeterministic-v0", NotDeterministic)

TINY = [
    *("algo=dqn", "env=custom", "hparams=none", "env.id=TestTriple-v0", "total_timesteps=300"),
    *("algo.learning_starts=4", "algo.batch_size=4", "algo.hidden_sizes=[4]", "eval.every=0"),
    *("eval.episodes=1", "checkpoint.every=0", "log.every=5", "log.tensorboard=false"),
    *("video.episodes=0", "quiet=true", "compile=false"),
]


def run(folder, *overrides, resume=False):
    config = compose(*TINY, *overrides)
    config["resume" if resume else "run_dir"] = str(folder)
    return train(config, ("dqn", "triple"))


def logged(folder):
    """(step, episodes) of each row of metrics.csv."""
    return [
        (int(row["step"]), int(row["rollout/episodes"])) for row in rows(folder / "metrics.csv")
    ]


def evaluated(folder):
    """Steps of the evaluations."""
    return [int(row["step"]) for row in rows(folder / "eval.csv")]


@pytest.fixture
def stop_at(monkeypatch):
    """A function that makes the next run raise SIGINT after a number of env steps."""
    original, left = VectorEnv.step, [0]

    def step(self, action):
        left[0] -= len(action)
        if left[0] in (0, -1):
            left[0] = -10_000
            signal.raise_signal(signal.SIGINT)
        return original(self, action)

    def arrange(steps):
        left[0] = steps

    left[0] = -10_000
    monkeypatch.setattr(VectorEnv, "step", step)
    return arrange


@pytest.mark.parametrize(("num_envs", "step", "finished"), [(1, 21, 7), (2, 24, 8), (3, 27, 9)])
def test_run_ends_at_the_step_in_which_the_last_episode_of_the_budget_ends(
    here, num_envs, step, finished
):
    """Episodes of 3 steps: 3 envs have finished 3, 6 and 9 after 9, 18 and 27 steps; 9 is the first >= 7."""
    outcome = run(here / "r", "total_episodes=7", f"env.num_envs={num_envs}")
    assert (outcome.step, outcome.reason, outcome.exit_code) == (step, "total_episodes=7", 0)
    last = rows(here / "r/metrics.csv")[-1]
    assert (int(last["step"]), int(last["rollout/episodes"])) == (step, finished)
    training = json.loads((here / "r/status.json").read_text())["training"]
    assert training == {
        **{"episodes": finished, "mean": 3.0, "std": 0.0, "mean_length": 3.0},
        **{"success_rate": 1.0, "success_at": 3.0},
    }


def test_first_exhausted_budget_ends_the_run(here):
    assert run(here / "a", "total_episodes=7", "total_timesteps=20").reason == "budget"
    assert run(here / "b", "total_episodes=7", "total_timesteps=21").step == 21


def test_resumed_run_continues_the_count_and_accepts_a_larger_budget(here, stop_at):
    base = ["total_episodes=7", "eval.every_episodes=2"]
    run(here / "whole", *base)
    stop_at(10)
    assert run(here / "r", *base).exit_code == 130
    resumed = run(here / "r", *base, resume=True)
    assert (resumed.step, resumed.reason) == (21, "total_episodes=7")
    assert contents(here / "r") == contents(here / "whole")
    assert rows(here / "r/eval.csv") == rows(here / "whole/eval.csv")
    assert run(here / "r", *base, resume=True).reason == "was complete"
    longer = ["total_episodes=9", "eval.every_episodes=2"]
    assert run(here / "r", *longer, resume=True).step == 27
    with pytest.raises(BadInput, match="is already at episode 9"):
        run(here / "r", "total_episodes=8", "eval.every_episodes=2", resume=True)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["eval.every_episodes=2"], [6, 12, 18, 21]),  # the last one is at the end of the run
        (["eval.every_episodes=2", "eval.every=9"], [6, 9, 12, 18, 21]),  # once at 18, not twice
        (["eval.every_episodes=7"], [21]),
        (
            ["eval.every_episodes=2", "env.num_envs=3"],
            [9, 18, 27],
        ),  # 3, 6, 9: crosses 2, 4 and 6, 8
        (["eval.every_episodes=5", "env.num_envs=3"], [18, 27]),
    ],
)
def test_eval_every_episodes_gives_one_evaluation_per_interval(here, overrides, steps):
    run(here / "r", "total_episodes=7", *overrides)
    assert evaluated(here / "r") == steps


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["log.every=0", "log.every_episodes=2"], [(6, 2), (12, 4), (18, 6), (21, 7)]),
        (
            ["log.every=9", "log.every_episodes=3"],
            [(9, 3), (18, 6), (21, 7)],
        ),  # both at step 9: one row
        (["log.every=10", "log.every_episodes=3"], [(9, 3), (10, 3), (18, 6), (20, 6), (21, 7)]),
        (["log.every=0", "log.every_episodes=2", "env.num_envs=3"], [(9, 3), (18, 6), (27, 9)]),
        (["log.every=0"], [(21, 7)]),
    ],
)
def test_log_every_episodes_gives_one_row_per_interval(here, overrides, expected):
    run(here / "r", "total_episodes=7", *overrides)
    assert logged(here / "r") == expected


@pytest.mark.parametrize("kill", [5, 6, 7, 11, 12])
def test_resumed_run_has_the_rows_of_an_uninterrupted_one(here, stop_at, kill):
    base = ["total_episodes=6", "log.every=0", "log.every_episodes=2"]
    run(here / "whole", *base)
    stop_at(kill)
    assert run(here / "r", *base).exit_code == 130
    assert run(here / "r", *base, resume=True).exit_code == 0
    ours, theirs = (rows(here / name / "metrics.csv") for name in ("r", "whole"))
    clock = ("time/steps_per_second", "time/elapsed")
    assert logged(here / "r") == [(6, 2), (12, 4), (18, 6)]
    assert [{k: v for k, v in row.items() if k not in clock} for row in ours] == [
        {k: v for k, v in row.items() if k not in clock} for row in theirs
    ]


def test_row_by_episodes_contains_these_episodes_and_the_update_on_them(here):
    """Two episodes of three steps per iteration: the first row follows the first update."""
    ppo = ["algo=ppo", "algo.rollout_length=null", "algo.rollout_episodes=2", "total_episodes=6"]
    small = [arg for arg in TINY if not arg.startswith("algo") or "hidden" in arg]
    config = compose(*ppo, *small, "algo.minibatch_size=6", "log.every=0", "log.every_episodes=2")
    train(config | {"run_dir": str(here / "r")}, ("ppo", "triple"))
    assert logged(here / "r") == [(6, 2), (12, 4), (18, 6)]
    found = rows(here / "r/metrics.csv")
    assert all(row["train/loss"] and row["rollout/episode_return"] == "3.0" for row in found)
    assert [row["rollout/success_rate"] for row in found] == ["1.0"] * 3


@pytest.mark.parametrize("kill", [5, 6, 7, 8, 9, 11])
def test_no_evaluation_is_lost_or_repeated_after_an_interruption(here, stop_at, kill):
    base = ["total_episodes=4", "eval.every_episodes=2"]
    stop_at(kill)
    assert run(here / "r", *base).exit_code == 130
    assert run(here / "r", *base, resume=True).exit_code == 0
    assert evaluated(here / "r") == [6, 12]


@pytest.mark.parametrize("kill", [None, 5, 8, 9])
def test_stop_eval_return_needs_a_full_window_of_evaluations(here, stop_at, kill):
    """Each evaluation returns 3; the window of 3 is full at step 9."""
    base = ["eval.every_episodes=1", "stop.eval_return=3", "stop.eval_window=3"]
    if kill is not None:
        stop_at(kill)
        assert run(here / "r", *base).exit_code == 130
    outcome = run(here / "r", *base, resume=kill is not None)
    assert (outcome.step, outcome.exit_code) == (9, 0)
    assert outcome.reason == "mean of 3 evals 3.0 reached stop.eval_return=3"


def test_resumed_run_that_had_reached_its_threshold_takes_no_further_step(here):
    """As after a kill between the last checkpoint and the final status."""
    base = ["eval.every_episodes=2", "stop.eval_return=3"]
    assert run(here / "r", *base).step == 6
    status = json.loads((here / "r/status.json").read_text())
    (here / "r/status.json").write_text(json.dumps(status | {"state": "running"}))
    tables = [(here / "r" / name).read_bytes() for name in ("metrics.csv", "eval.csv")]
    outcome = run(here / "r", *base, resume=True)
    assert [(here / "r" / name).read_bytes() for name in ("metrics.csv", "eval.csv")] == tables
    assert (outcome.step, outcome.reason) == (6, "eval return 3.0 reached stop.eval_return=3")


def test_stop_eval_return_without_evaluations_is_refused():
    with pytest.raises(BadInput, match=r"set eval\.every or eval\.every_episodes"):
        train(compose(*TINY, "stop.eval_return=3"), ("dqn", "triple"))


# Seeds


def test_each_episode_is_reset_with_its_own_seed(here, stop_at):
    """Seeds depend on the run's seed, the env and the episode; a resumed run continues the sequence."""

    def resets(folder, *overrides, **options):
        Triple.resets.clear()
        run(folder, *overrides, "total_episodes=4", "env.reseed_episodes=true", **options)
        return list(Triple.resets)

    first = env_seeds(0, 1)[0]
    expected = [first] + [episode_seed(first, n) for n in range(1, 5)]
    assert resets(here / "a")[:5] == expected
    assert len(set(expected)) == 5
    stop_at(8)  # in the third episode, after two steps: resume replays its reset and makes two more
    assert resets(here / "r")[:3] == expected[:3]
    assert resets(here / "r", resume=True)[:3] == expected[2:]
    assert contents(here / "r") == contents(here / "a")
    assert resets(here / "b", "seed=1")[1] != expected[1]


def test_each_env_has_its_own_episode_seeds_and_a_seed_determines_the_first_observation():
    envs = vector("CartPole-v1", 2, reseed_episodes=True)
    envs.reset()
    first_obs = []
    for _ in range(100):
        before = envs.episode_numbers.copy()
        _, obs = envs.step(np.zeros(2, np.int64))
        first_obs += [(i, obs[i].copy()) for i in range(2) if envs.episode_numbers[i] > before[i]]
    assert len(first_obs) > 10
    numbers = {0: 0, 1: 0}
    for i, obs in first_obs:
        numbers[i] += 1
        expected, _ = gym.make("CartPole-v1").reset(seed=episode_seed(100 + i, numbers[i]))
        assert np.array_equal(obs, expected)
    assert len({obs.tobytes() for _, obs in first_obs}) == len(first_obs)


# Videos of training episodes


def test_evaluation_equal_to_the_best_is_printed_as_tied(here, capsys):
    run(here / "r", "total_episodes=4", "eval.every_episodes=2", "quiet=false")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.rpartition("  ")[2] for line in lines if "eval" in line] == [
        "(best)",
        "(tied for best)",
    ]


def test_final_lines_name_videos_of_both_kinds(here, capsys):
    run(here / "r", "total_episodes=6", "video.every_episodes=2", "video.episodes=1", "quiet=false")
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:5] == "video"]
    assert lines == [
        "video:   r/videos/step_000000018_episode_0.mp4",
        "videos:  3 training episodes in r/videos",
    ]


def video_names(folder):
    return sorted(p.name for p in folder.glob("videos/*"))


@pytest.fixture
def actions(monkeypatch):
    """Actions of the training envs, one array (N,) per step."""
    taken, original = [], VectorEnv.step

    def step(self, action):
        taken.append(action.copy())
        return original(self, action)

    monkeypatch.setattr(VectorEnv, "step", step)
    return taken


@pytest.mark.parametrize("workers", [0, 2])
def test_videos_show_every_second_training_episode_with_its_actions(here, actions, workers):
    """Two envs: episodes 2, 4, 6 are those of the second env, in its steps 1-3, 4-6, 7-9."""
    overrides = ["env.num_envs=2", f"workers={workers}", "algo.learning_starts=18"]
    run(here / "r", *overrides, "video.every_episodes=2", "total_episodes=6")
    assert video_names(here / "r") == [f"episode_{n:06d}.mp4" for n in (2, 4, 6)]
    taken = np.array(actions)[:, 1]
    assert set(taken.tolist()) == {0, 1}  # random: the actions include exploration
    for i, name in enumerate(video_names(here / "r")):
        frames = decoded(here / "r/videos" / name)[2]
        expected = [0, *np.where(taken[3 * i : 3 * i + 3], 200, 40)]
        np.testing.assert_allclose(frames.mean((1, 2, 3)), expected, atol=8)


def test_videos_change_no_bit_and_none_is_lost_after_an_interruption(here, stop_at):
    base = ["total_episodes=6", "env.reseed_episodes=true"]
    run(here / "plain", *base)
    stop_at(12)
    with_videos = [*base, "video.every_episodes=4"]
    assert run(here / "r", *with_videos).exit_code == 130
    assert run(here / "r", *with_videos, resume=True).exit_code == 0
    assert video_names(here / "r") == ["episode_000004.mp4"]
    assert contents(here / "r") == contents(here / "plain")


@pytest.mark.parametrize("env", ["cartpole", "mountaincar", "lunarlander", "bipedalwalker"])
def test_replay_reproduces_the_return_on_shipped_envs(here, env, capsys):
    algo = "ppo" if env == "bipedalwalker" else "dqn"
    base = [
        f"algo={algo}",
        f"env={env}",
        *(arg for arg in TINY[7:] if "hidden" not in arg),
        "hparams=none",
    ]
    config = compose(
        *base, "total_episodes=3", "env.max_episode_steps=60", "video.every_episodes=2"
    )
    config |= {"run_dir": str(here / "r"), "total_timesteps": 3_000}
    train(config, (algo, env))
    assert video_names(here / "r") == ["episode_000002.mp4"], capsys.readouterr().err


def test_replay_that_differs_is_reported_once_and_training_continues(here, capsys):
    changes = ["env.id=TestNotDeterministic-v0", "video.every_episodes=2", "total_episodes=6"]
    assert run(here / "r", *changes).reason == "total_episodes=6"
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "no videos of training episodes: TestNotDeterministic-v0 is not deterministic: the episode had 3 steps "
        "and return 3, its replay 1 and 1; training continues without them"
    ]
    assert video_names(here / "r") == []


def test_envs_record_no_episodes_unless_requested():
    envs = vector("TestEndsAt3-v0", 2)
    envs.reset()
    for _ in range(9):
        envs.step(np.zeros((2, 1), np.float32))
    assert len(envs.take_episodes()) == 6
    assert envs.take_recordings() == []


def test_final_lines_summarize_the_training_episodes(here, capsys):
    run(here / "r", "total_episodes=7", "quiet=false")
    out = capsys.readouterr().out
    assert "(total_episodes=7)" in out
    assert (
        "trained: 7 episodes, return 3.000 ± 0, mean length 3.0; 100% of them, while learning and exploring, reached 3"
        in out
    )
    assert "episode 7/7" in out
    with (here / "r/metrics.csv").open() as file:
        assert [row["rollout/running_return"] for row in csv.DictReader(file)] == ["3.0"] * 5
