"""Two processes on one study, one of which is killed: the other one completes its trials."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl_cli.report import search_record
from tests.services.servers import REQUESTED, needs_postgres, needs_slurm, postgres, slurm
from tests.services.sweeps import go_on, until, write_env

COMMAND = [
    sys.executable, "-c", "from rl_cli.cli.search import main; main()",
    "algo=dqn", "env=slow", "hparams=none", "total_timesteps=5000", "algo.train_every=1000", "eval.episodes=1",
    "eval.every=2500", "checkpoint.every=500", "compile=false", "display=plain", "space=shared",
    "trials=3", "seeds=2", "verify=5", "top=1", "prune=none", "prune_seeds=false", "study=shared",
]  # fmt: skip


@contextlib.contextmanager
def journal():
    yield None


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(postgres, marks=needs_postgres),
        pytest.param(journal, marks=pytest.mark.skipif(not REQUESTED, reason="make services")),
    ],
)
def test_a_killed_process_leaves_its_trials_to_the_other(server, here):
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/shared.yaml").write_text("algo.gamma: {logit: [0.9, 0.999]}\n")
    Path("conf/env").mkdir()
    Path("conf/env/slow.yaml").write_text("defaults: [_base, _self_]\nid: slow:Slow-v0\n")
    write_env(here)
    with server() as url:
        words = [*COMMAND, *([] if url is None else [f"storage={url}"])]
        with Path("one.txt").open("w") as one, Path("two.txt").open("w") as two:
            killed = subprocess.Popen(words, stdout=one, stderr=one, start_new_session=True)
            other = subprocess.Popen(words, stdout=two, stderr=two, start_new_session=True)
            try:
                found = wait_for_checkpoints(2)
                killed.kill()
                assert killed.wait() == -signal.SIGKILL
                go_on()
                assert other.wait(900) == 0, Path("two.txt").read_text()
                again = subprocess.run(
                    words, capture_output=True, text=True, check=False, timeout=300
                )
            finally:
                for process in (killed, other):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
    assert len(found) == 2
    record = search_record.load(Path("runs/searches/shared"))
    assert [t.trial for t in record.trials] == list(range(3))
    assert [t.state for t in record.trials] == ["complete"] * 3
    assert all([run.seed for run in t.runs] == [0, 1] for t in record.trials)
    assert [len(c.values) for c in record.checked] == [5, 5]
    resumed = [path for path in Path().glob("runs/searches/shared/runs/t*/status.json")
               if json.loads(path.read_text()).get("resumed")]  # fmt: skip
    assert len(resumed) == 1  # the run of the killed process went on from its checkpoint
    assert again.returncode == 0
    said = Path("two.txt").read_text().split("trials:")[1]
    assert again.stdout.split("trials:")[1] == said  # and nothing ran again


@pytest.mark.skipif(not REQUESTED, reason="make services")
def test_runs_of_a_search_are_tasks_of_ray_and_end_early(here):
    """On a cluster of this machine, which the search starts."""
    pytest.importorskip("ray")
    search_of_runs_that_end_early(["hydra/launcher=ray"], {"RAY_worker_niceness": "0"})


@needs_slurm
def test_runs_of_a_search_are_jobs_of_slurm_and_end_early(here):
    """The search itself stays here."""
    pytest.importorskip("submitit")
    with slurm() as cluster:
        words = ["hydra/launcher=slurm", "hydra.launcher.poll_seconds=1"]
        search_of_runs_that_end_early(words, cluster.env)
        assert list(Path("runs/searches/ladder").glob("*slurm*"))
        until(lambda: cluster.command("squeue", "-h") == "")


LADDER = """
import time
import gymnasium as gym
import numpy as np

class Ladder(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        time.sleep(0.004)
        return np.zeros(1, np.float32), 1.0, False, False, {}

gym.register("Ladder-v0", Ladder)
"""


def search_of_runs_that_end_early(words, env=None):
    """The return is the length of an episode, a key of the space: runs of a low one are ended on the way."""
    Path("ladder.py").write_text(LADDER)
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/ladder.yaml").write_text("env.max_episode_steps: {int: [1, 100]}\n")
    Path("conf/env").mkdir()
    Path("conf/env/ladder.yaml").write_text(
        "defaults: [_base, _self_]\nid: ladder:Ladder-v0\nmax_episode_steps: 50\n"
    )
    words = [
        *COMMAND[:3], "algo=dqn", "env=ladder", "hparams=none", "total_timesteps=4000", "algo.train_every=1000",
        "eval.every=400", "eval.episodes=1", "checkpoint.every=400", "compile=false", "display=plain",
        "space=ladder", "trials=9", "seeds=1", "verify=0", "sampler=random", "prune=asha", "prune_after=0.1",
        "prune_seeds=false", "study=ladder", "jobs=2", *words,
    ]  # fmt: skip
    ran = subprocess.run(
        words, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False, timeout=1200
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    folder = Path("runs/searches/ladder")
    record = search_record.load(folder)
    pruned = [t for t in record.trials if t.state == "pruned"]
    complete = [t for t in record.trials if t.state == "complete"]
    assert len(pruned) + len(complete) == 9
    assert len(pruned) > 1
    for trial in pruned:
        (run,) = trial.runs
        status = json.loads(Path(run.folder, "status.json").read_text())
        assert (status["state"], run.step < 4000) == ("pruned", True)
        assert "asha: return" in status["reason"]
        assert json.loads(Path(f"{run.folder}.json").read_text())["where"]
    best = next(t for t in complete if t.trial == record.best)
    lengths = [t.keys["env.max_episode_steps"] for t in record.trials]
    assert best.values == [max(lengths)]
    assert "max_episode_steps" in (folder / "report.html").read_text()


def wait_for_checkpoints(count):
    """Run folders with a checkpoint, as soon as there are so many."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        found = {
            p.parents[2]
            for p in Path().glob("runs/searches/shared/runs/*/checkpoints/0*/manifest.json")
        }
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(Path("one.txt").read_text() + Path("two.txt").read_text())
