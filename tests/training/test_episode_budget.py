"""Episodes as a budget and as an interval: counted exactly, also where a run was stopped."""

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
    """Three steps of reward 1. A picture is as bright as the last action: 40 or 200; black at first."""

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


class Whimsical(Triple):
    """Where a renderer looks on, it ends sooner."""

    def step(self, action):
        obs, reward, over, cut, info = super().step(action)
        return obs, reward, over or self.render_mode is not None, cut, info


gym.register("TestTriple-v0", Triple, reward_threshold=3.0)
gym.register("TestWhimsical-v0", Whimsical)

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
    """(step, episodes) of each row of curves."""
    return [
        (int(row["step"]), int(row["rollout/episodes"])) for row in rows(folder / "metrics.csv")
    ]


def evaluated(folder):
    return [int(row["step"]) for row in rows(folder / "eval.csv")]


@pytest.fixture
def stop_at(monkeypatch):
    """Deliver SIGINT from inside the loop, at a step counted from the start of the process's run."""
    plain, left = VectorEnv.step, [0]

    def step(self, action):
        left[0] -= len(action)
        if left[0] in (0, -1):
            left[0] = -10_000
            signal.raise_signal(signal.SIGINT)
        return plain(self, action)

    def arrange(steps):
        left[0] = steps

    left[0] = -10_000
    monkeypatch.setattr(VectorEnv, "step", step)
    return arrange


@pytest.mark.parametrize(("num_envs", "step", "had"), [(1, 21, 7), (2, 24, 8), (3, 27, 9)])
def test_the_run_ends_at_the_step_in_which_the_last_episode_of_the_budget_ends(
    here, num_envs, step, had
):
    """Seven of three steps: the third time that three envs end theirs, at 27 steps, is the first >= 7."""
    outcome = run(here / "r", "total_episodes=7", f"env.num_envs={num_envs}")
    assert (outcome.step, outcome.reason, outcome.exit_code) == (step, "total_episodes=7", 0)
    last = rows(here / "r/metrics.csv")[-1]
    assert (int(last["step"]), int(last["rollout/episodes"])) == (step, had)
    told = json.loads((here / "r/status.json").read_text())["training"]
    assert told == {
        **{"episodes": had, "mean": 3.0, "std": 0.0, "mean_length": 3.0},
        **{"success_rate": 1.0, "success_at": 3.0},
    }


def test_whichever_budget_is_spent_first_ends_the_run(here):
    assert run(here / "a", "total_episodes=7", "total_timesteps=20").reason == "budget"
    assert run(here / "b", "total_episodes=7", "total_timesteps=21").step == 21


def test_a_resumed_run_counts_on_and_more_may_be_asked_for(here, stop_at):
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
        (["eval.every_episodes=2"], [6, 12, 18, 21]),  # the last one is that of the run's end
        (["eval.every_episodes=2", "eval.every=9"], [6, 9, 12, 18, 21]),  # once at 18, not twice
        (["eval.every_episodes=7"], [21]),
        (
            ["eval.every_episodes=2", "env.num_envs=3"],
            [9, 18, 27],
        ),  # 3, 6, 9: crosses 2, 4 and 6, 8
        (["eval.every_episodes=5", "env.num_envs=3"], [18, 27]),
    ],
)
def test_every_so_many_episodes_there_is_one_evaluation(here, overrides, steps):
    run(here / "r", "total_episodes=7", *overrides)
    assert evaluated(here / "r") == steps


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["log.every=0", "log.every_episodes=2"], [(6, 2), (12, 4), (18, 6), (21, 7)]),
        (["log.every=9", "log.every_episodes=3"], [(9, 3), (18, 6), (21, 7)]),  # both at once: one
        (["log.every=10", "log.every_episodes=3"], [(9, 3), (10, 3), (18, 6), (20, 6), (21, 7)]),
        (["log.every=0", "log.every_episodes=2", "env.num_envs=3"], [(9, 3), (18, 6), (27, 9)]),
        (["log.every=0"], [(21, 7)]),
    ],
)
def test_every_so_many_episodes_there_is_one_row(here, overrides, expected):
    run(here / "r", "total_episodes=7", *overrides)
    assert logged(here / "r") == expected


@pytest.mark.parametrize("kill", [5, 6, 7, 11, 12])
def test_a_resumed_run_has_the_rows_of_one_that_was_never_stopped(here, stop_at, kill):
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


def test_a_row_by_episodes_is_of_these_episodes_and_of_what_was_learned_from_them(here):
    """Two episodes of three steps an iteration: the first row comes after the first update."""
    ppo = ["algo=ppo", "algo.rollout_length=null", "algo.rollout_episodes=2", "total_episodes=6"]
    small = [word for word in TINY if not word.startswith("algo") or "hidden" in word]
    config = compose(*ppo, *small, "algo.minibatch_size=6", "log.every=0", "log.every_episodes=2")
    train(config | {"run_dir": str(here / "r")}, ("ppo", "triple"))
    assert logged(here / "r") == [(6, 2), (12, 4), (18, 6)]
    found = rows(here / "r/metrics.csv")
    assert all(row["train/loss"] and row["rollout/episode_return"] == "3.0" for row in found)
    assert [row["rollout/success_rate"] for row in found] == ["1.0"] * 3


@pytest.mark.parametrize("kill", [5, 6, 7, 8, 9, 11])
def test_no_evaluation_is_lost_or_doubled_where_the_run_was_stopped(here, stop_at, kill):
    base = ["total_episodes=4", "eval.every_episodes=2"]
    stop_at(kill)
    assert run(here / "r", *base).exit_code == 130
    assert run(here / "r", *base, resume=True).exit_code == 0
    assert evaluated(here / "r") == [6, 12]


@pytest.mark.parametrize("kill", [None, 5, 8, 9])
def test_a_threshold_is_asked_of_a_full_window_of_evaluations(here, stop_at, kill):
    """Each evaluation gives 3: after the third, at the ninth step, and no sooner."""
    base = ["eval.every_episodes=1", "stop.eval_return=3", "stop.eval_window=3"]
    if kill is not None:
        stop_at(kill)
        assert run(here / "r", *base).exit_code == 130
    outcome = run(here / "r", *base, resume=kill is not None)
    assert (outcome.step, outcome.exit_code) == (9, 0)
    assert outcome.reason == "mean of 3 evals 3.0 reached stop.eval_return=3"


def test_a_run_that_had_reached_its_threshold_does_not_go_past_it_when_resumed(here):
    """As where it was killed between the last checkpoint and its end."""
    base = ["eval.every_episodes=2", "stop.eval_return=3"]
    assert run(here / "r", *base).step == 6
    status = json.loads((here / "r/status.json").read_text())
    (here / "r/status.json").write_text(json.dumps(status | {"state": "running"}))
    curves = [(here / "r" / name).read_bytes() for name in ("metrics.csv", "eval.csv")]
    outcome = run(here / "r", *base, resume=True)
    assert [(here / "r" / name).read_bytes() for name in ("metrics.csv", "eval.csv")] == curves
    assert (outcome.step, outcome.reason) == (6, "eval return 3.0 reached stop.eval_return=3")


def test_a_threshold_without_evaluations_is_refused():
    with pytest.raises(BadInput, match=r"set eval\.every or eval\.every_episodes"):
        train(compose(*TINY, "stop.eval_return=3"), ("dqn", "triple"))


# Seeds


def test_each_episode_is_reset_with_its_own_seed(here, stop_at):
    """Seeds are told apart by run, by copy and by number; a resumed run goes on in the row."""

    def resets(folder, *overrides, **how):
        Triple.resets.clear()
        run(folder, *overrides, "total_episodes=4", "env.reseed_episodes=true", **how)
        return list(Triple.resets)

    first = env_seeds(0, 1)[0]
    expected = [first] + [episode_seed(first, n) for n in range(1, 5)]
    assert resets(here / "a")[:5] == expected
    assert len(set(expected)) == 5
    stop_at(8)  # two steps into the third episode: its reset is replayed, and two more follow
    assert resets(here / "r")[:3] == expected[:3]
    assert resets(here / "r", resume=True)[:3] == expected[2:]
    assert contents(here / "r") == contents(here / "a")
    assert resets(here / "b", "seed=1")[1] != expected[1]


def test_copies_have_seeds_of_their_own_and_the_same_seed_is_the_same_episode():
    envs = vector("CartPole-v1", 2, reseed_episodes=True)
    envs.reset()
    begun = []
    for _ in range(100):
        before = envs.episode_numbers.copy()
        _, obs = envs.step(np.zeros(2, np.int64))
        begun += [(i, obs[i].copy()) for i in range(2) if envs.episode_numbers[i] > before[i]]
    assert len(begun) > 10
    numbers = {0: 0, 1: 0}
    for i, obs in begun:
        numbers[i] += 1
        plain, _ = gym.make("CartPole-v1").reset(seed=episode_seed(100 + i, numbers[i]))
        assert np.array_equal(obs, plain)
    assert len({obs.tobytes() for _, obs in begun}) == len(begun)


# Films of training episodes


def test_an_evaluation_as_good_as_the_best_is_said_to_be_tied(here, capsys):
    run(here / "r", "total_episodes=4", "eval.every_episodes=2", "quiet=false")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.rpartition("  ")[2] for line in told if "eval" in line] == [
        "(best)",
        "(tied for best)",
    ]


def test_the_closing_lines_name_the_films_of_both_kinds(here, capsys):
    run(here / "r", "total_episodes=6", "video.every_episodes=2", "video.episodes=1", "quiet=false")
    told = [line for line in capsys.readouterr().out.splitlines() if line[:5] == "video"]
    assert told == [
        "video:   r/videos/step_000000018_episode_0.mp4",
        "videos:  3 training episodes in r/videos",
    ]


def films(folder):
    return sorted(p.name for p in folder.glob("videos/*"))


@pytest.fixture
def actions(monkeypatch):
    """What the training envs were told, env by env within a step."""
    taken, plain = [], VectorEnv.step

    def step(self, action):
        taken.append(action.copy())
        return plain(self, action)

    monkeypatch.setattr(VectorEnv, "step", step)
    return taken


@pytest.mark.parametrize("workers", [0, 2])
def test_every_second_training_episode_is_on_film_as_it_was(here, actions, workers):
    """Two envs: episodes 2, 4, 6 are those of the second one, in steps 1-3, 4-6, 7-9."""
    overrides = ["env.num_envs=2", f"workers={workers}", "algo.learning_starts=18"]
    run(here / "r", *overrides, "video.every_episodes=2", "total_episodes=6")
    assert films(here / "r") == [f"episode_{n:06d}.mp4" for n in (2, 4, 6)]
    taken = np.array(actions)[:, 1]
    assert set(taken.tolist()) == {0, 1}  # drawn at random: the exploration is on film
    for i, name in enumerate(films(here / "r")):
        frames = decoded(here / "r/videos" / name)[2]
        expected = [0, *np.where(taken[3 * i : 3 * i + 3], 200, 40)]
        np.testing.assert_allclose(frames.mean((1, 2, 3)), expected, atol=8)


def test_filming_changes_no_bit_and_a_film_is_not_lost_where_the_run_was_stopped(here, stop_at):
    base = ["total_episodes=6", "env.reseed_episodes=true"]
    run(here / "plain", *base)
    stop_at(12)
    film = [*base, "video.every_episodes=4"]
    assert run(here / "r", *film).exit_code == 130
    assert run(here / "r", *film, resume=True).exit_code == 0
    assert films(here / "r") == ["episode_000004.mp4"]
    assert contents(here / "r") == contents(here / "plain")


@pytest.mark.parametrize("env", ["cartpole", "mountaincar", "lunarlander", "bipedalwalker"])
def test_the_envs_we_name_play_again_to_the_same_return(here, env, capsys):
    algo = "ppo" if env == "bipedalwalker" else "dqn"
    base = [
        f"algo={algo}",
        f"env={env}",
        *(t for t in TINY[7:] if "hidden" not in t),
        "hparams=none",
    ]
    config = compose(
        *base, "total_episodes=3", "env.max_episode_steps=60", "video.every_episodes=2"
    )
    config |= {"run_dir": str(here / "r"), "total_timesteps": 3_000}
    train(config, (algo, env))
    assert films(here / "r") == ["episode_000002.mp4"], capsys.readouterr().err


def test_an_env_that_does_not_replay_is_told_once_and_training_goes_on(here, capsys):
    changes = ["env.id=TestWhimsical-v0", "video.every_episodes=2", "total_episodes=6"]
    assert run(here / "r", *changes).reason == "total_episodes=6"
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "no videos of training episodes: TestWhimsical-v0 is not deterministic: the episode had 3 steps "
        "and return 3, its replay 1 and 1; training continues without them"
    ]
    assert films(here / "r") == []


def test_nothing_is_kept_for_films_that_nobody_wants():
    envs = vector("TestEndsAt3-v0", 2)
    envs.reset()
    for _ in range(9):
        envs.step(np.zeros((2, 1), np.float32))
    assert len(envs.take_episodes()) == 6
    assert envs.take_recordings() == []


def test_the_closing_line_tells_the_training(here, capsys):
    run(here / "r", "total_episodes=7", "quiet=false")
    out = capsys.readouterr().out
    assert "(total_episodes=7)" in out
    assert (
        "trained: 7 episodes, return 3.000 ± 0, mean length 3.0, success 100% (return >= 3)" in out
    )
    assert "episode 7/7" in out
    with (here / "r/metrics.csv").open() as file:
        assert [row["rollout/running_return"] for row in csv.DictReader(file)] == ["3.0"] * 5
