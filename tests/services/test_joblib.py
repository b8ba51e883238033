"""The launcher of Hydra's plugin for joblib: the same runs and records; a stopped sweep goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.services.servers import REQUESTED
from tests.services.sweeps import Sweep, go_on, write_env

pytestmark = pytest.mark.skipif(not REQUESTED, reason="make services")


def test_joblib_gives_the_same_runs_also_after_ctrl_c(here):
    pytest.importorskip("joblib")
    write_env(here)
    sweep = Sweep("s", "hydra/launcher=joblib", "seed=5,6")
    sweep.until_it_waits(0)
    sweep.until_it_waits(1)
    sweep.process.send_signal(signal.SIGINT)
    assert "stopped: 0 of 2 jobs are complete" in sweep.ended(130)
    go_on()
    whole = Sweep("local", "seed=5,6", "jobs=2")
    whole.ended()
    sweep.start()
    assert "were not enough" not in sweep.ended()
    for number in (0, 1):
        assert sweep.record(number)["state"] == "completed"
        assert len(sweep.ends_before(number)) == 1
        assert sweep.digests(number) == whole.digests(number)
    runs = list(Path("runs/ppo/slow-slow-v0").iterdir())
    assert len(runs) == 4
    sweep.start()
    sweep.ended()
    assert sorted(Path("runs/ppo/slow-slow-v0").iterdir()) == sorted(runs)
