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
from tests.services.servers import ASKED, needs_postgres, needs_slurm, postgres, slurm

COMMAND = [
    sys.executable, "-c", "from rl_cli.cli.search import main; main()",
    "algo=dqn", "env=cartpole", "hparams=none", "total_timesteps=20000", "algo.train_every=1000", "eval.episodes=2",
    "eval.every=5000", "checkpoint.every=1000", "compile=false", "display=plain", "space=shared",
    "trials=3", "seeds=2", "verify=5", "top=1", "prune=none", "prune_seeds=false", "study=shared",
]  # fmt: skip


@contextlib.contextmanager
def journal():
    yield None


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(postgres, marks=needs_postgres),
        pytest.param(journal, marks=pytest.mark.skipif(not ASKED, reason="make services")),
    ],
)
def test_a_killed_process_leaves_its_trials_to_the_other(server, here):
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/shared.yaml").write_text("algo.gamma: {logit: [0.9, 0.999]}\n")
    Path("conf/env").mkdir()
    with server() as url:
        words = [*COMMAND, *([] if url is None else [f"storage={url}"])]
        with Path("one.txt").open("w") as one, Path("two.txt").open("w") as two:
            killed = subprocess.Popen(words, stdout=one, stderr=one, start_new_session=True)
            other = subprocess.Popen(words, stdout=two, stderr=two, start_new_session=True)
            try:
                found = wait_for_checkpoints(2)
                killed.kill()
                assert killed.wait() == -signal.SIGKILL
                assert other.wait(300) == 0, Path("two.txt").read_text()
                again = subprocess.run(
                    words, capture_output=True, text=True, check=False, timeout=60
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


@needs_slurm
def test_runs_of_a_search_are_jobs_of_slurm(here):
    """The search itself stays here."""
    pytest.importorskip("submitit")
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/shared.yaml").write_text("algo.gamma: {logit: [0.9, 0.999]}\n")
    Path("conf/env").mkdir()
    words = [*COMMAND, "hydra/launcher=slurm", "hydra.launcher.poll_seconds=1", "jobs=2"]
    words += ["trials=2", "seeds=1", "verify=0"]
    with slurm() as cluster:
        env = {**os.environ, **cluster.env}
        ran = subprocess.run(
            words, env=env, capture_output=True, text=True, check=False, timeout=280
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert cluster.command("squeue", "-h") == ""
    record = search_record.load(Path("runs/searches/shared"))
    assert [t.state for t in record.trials] == ["complete"] * 2
    assert list(Path("runs/searches/shared").glob("*slurm*"))


def wait_for_checkpoints(count):
    """Run folders with a checkpoint, as soon as there are so many."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = {
            p.parents[2]
            for p in Path().glob("runs/searches/shared/runs/*/checkpoints/0*/manifest.json")
        }
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(Path("one.txt").read_text() + Path("two.txt").read_text())
