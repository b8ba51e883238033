"""The launcher of Ray on a real cluster of two workers, of which one is lost on the way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.services.servers import REQUESTED
from tests.services.sweeps import Sweep, go_on, until, write_env

pytestmark = pytest.mark.skipif(not REQUESTED, reason="make services")

ENV = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Workers are nice to other programs by default, which takes minutes on a busy machine."""


class Workers:
    """A head without processors, and two nodes with one each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose_node_of(self, pid):
        """Kill the daemon of the node on which this worker runs."""
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        (node,) = (n for n in self.nodes if n.all_processes["raylet"][0].process.pid == parent)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)


@pytest.fixture(scope="module")
def workers():
    pytest.importorskip("ray")
    before = dict(os.environ)
    os.environ.update(ENV)
    started = Workers()
    try:
        yield started
    finally:
        started.cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def start(workers, here):
    write_env(here)

    started = []

    def go(folder, *words):
        address = f"hydra.launcher.address={workers.cluster.address}"
        started.append(Sweep(folder, "hydra/launcher=ray", address, *words, env=ENV))
        return started[-1]

    yield go
    for sweep in started:
        sweep.process.kill()
        sweep.process.wait()


def worker_of(sweep, number):
    """Process id, of the record's "Ray worker <pid> on <host>"."""
    return int(until(lambda: sweep.record(number).get("where")).split()[2])


def test_jobs_go_on_exactly_when_a_worker_and_then_its_machine_are_lost(start, workers):
    go_on()
    whole = Sweep("local", "seed=5,6", "jobs=2")
    whole.ended()
    Path("go").unlink()
    sweep = start("s", "seed=5,6")
    sweep.until_it_waits(0)
    sweep.until_it_waits(1)
    os.kill(worker_of(sweep, 1), signal.SIGKILL)
    until(lambda: sweep.ends_before(1))
    until(lambda: sweep.step(1) >= 2000)
    lost = worker_of(sweep, 0), json.loads((sweep.run(0) / "status.json").read_text())["pid"]
    workers.lose_node_of(lost[0])
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in lost))
    go_on()  # the node that is left runs one job after the other
    out = sweep.ended()
    assert "sweep: 2 jobs, on Ray" in out
    assert sweep.ends_before(0)
    for number in (0, 1):
        assert sweep.digests(number) == whole.digests(number)


def test_job_that_lost_its_worker_too_often_says_so(start):
    sweep = start("s", "seed=5", "hydra.launcher.max_retries=0")
    sweep.until_it_waits()
    os.kill(worker_of(sweep, 0), signal.SIGKILL)
    sweep.ended(143)  # its run has saved
    assert sweep.record()["state"] == "interrupted"
    assert sweep.record()["reason"].startswith("SIGTERM; Ray lost its worker")


def test_ctrl_c_lets_jobs_save_and_another_start_resumes_them(start):
    sweep = start("s", "seed=5")
    sweep.until_it_waits()
    sweep.process.send_signal(signal.SIGINT)
    sweep.ended(130)
    assert sweep.record()["state"] == "interrupted"
    go_on()
    sweep.start()
    sweep.ended()
    assert sweep.ends_before() == ["interrupted"]


def test_own_cluster_of_this_machine_writes_nothing_into_the_home_folder(here):
    write_env(here)
    (here / "home").mkdir()
    clean = {"RAY_ADDRESS": "", "RAY_worker_niceness": "0", "HOME": str(here / "home")}
    Sweep("s", "hydra/launcher=ray", "seed=5", "total_timesteps=500", env=clean).ended()
    assert [p for p in (here / "home").rglob("*") if "ray" in p.name.lower()] == []
