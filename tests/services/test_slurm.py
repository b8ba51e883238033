"""The launcher of Slurm on a real cluster of two nodes: the same runs, and what happens when Slurm ends a job."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.services.servers import needs_slurm, slurm
from tests.services.sweeps import Sweep, go_on, until, write_env

pytestmark = needs_slurm
LAUNCHER = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1")


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("submitit")
    with slurm() as running:
        yield running


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Digests of the run without an interruption, on the local launcher."""
    folder, before = tmp_path_factory.mktemp("whole"), os.getcwd()
    os.chdir(folder)
    try:
        write_env(folder)
        go_on()
        sweep = Sweep("local", "seed=5")
        sweep.ended()
        return sweep.digests()
    finally:
        os.chdir(before)


@pytest.fixture
def start(cluster, here):
    write_env(here)

    started = []

    def go(folder, *words):
        started.append(Sweep(folder, *LAUNCHER, *words, env=cluster.env))
        return started[-1]

    yield go
    for sweep in started:
        sweep.process.kill()
        sweep.process.wait()


def job_of(sweep):
    return (sweep.folder / "slurm/jobs/job_0000").read_text()


def processes_of(sweep):
    """Process ids: of submitit in the job, and of the run."""
    query = [
        "pgrep",
        "-f",
        f"^[^ ]*python[^ ]* -u -m submitit.core._submit {sweep.folder.absolute()}/",
    ]
    (outer,) = map(int, subprocess.check_output(query, text=True).split())
    (inner,) = map(int, subprocess.check_output(["pgrep", "-P", str(outer)], text=True).split())
    return outer, inner


def test_array_gives_the_runs_of_the_local_launcher(start, cluster, whole):
    go_on()
    sweep = start("s", "seed=5,6")
    out = sweep.ended()
    assert "sweep: 2 jobs, in Slurm" in out
    assert sweep.digests() == whole
    assert (sweep.record(1)["state"], sweep.record(1)["seed"]) == ("completed", 6)
    assert {p.name.split("_")[0] for p in sweep.folder.glob("slurm/2*/*_submitted.pkl")} == {
        job_of(sweep).split("_")[0]
    }
    assert (sweep.folder / "report.html").exists()
    sweep.start()
    assert sweep.ended().count("complete,") == 2


def test_job_that_slurm_stops_resumes_exactly(start, cluster, whole):
    """Four ways at the same time; the fifth is a time limit of a minute, which Slurm warns of at once."""
    stops = {
        "requeue": lambda job: cluster.command("scontrol", "requeue", job),
        "warning": lambda job: cluster.command("scancel", "--signal=USR2", job),
        "sigterm": lambda job: cluster.command("scancel", "--signal=TERM", job),
        "sigusr1": lambda job: cluster.command("scancel", "--signal=USR1", job),
    }
    sweeps = {name: start(name, "seed=5") for name in stops}
    for name, sweep in sweeps.items():
        sweep.until_it_waits()
        stops[name](job_of(sweep))
        until(sweep.is_interrupted)
    go_on()
    for sweep in sweeps.values():
        sweep.ended()
        assert sweep.ends_before() == ["interrupted"]
        assert sweep.digests() == whole


def test_preempted_job_resumes_exactly(start, cluster, whole):
    sweep = start("s", "seed=5")
    sweep.until_it_waits()
    cluster.command(
        "sbatch", "-p", "high", "-N2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"
    )
    until(sweep.is_interrupted)
    go_on()
    sweep.ended()
    assert sweep.ends_before() == ["interrupted"]
    assert sweep.digests() == whole


def test_time_limit_warns_the_job_which_continues_until_its_restarts_are_used(start, cluster):
    """The run itself waits longer than both time limits."""
    words = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=50", "seed=5")
    sweep = start("s", *words, "hydra.launcher.max_num_timeout=1")
    out = sweep.ended(143)
    assert "timed-out too many times" in out
    assert sweep.ends_before() == ["interrupted"]
    assert sweep.record()["state"] == "interrupted"


def test_job_of_a_lost_node_resumes_on_another_one(start, cluster, whole):
    sweep = start("s", "seed=5")
    sweep.until_it_waits()
    node = cluster.command("squeue", "-h", "-j", job_of(sweep), "-o", "%N")
    step = subprocess.check_output(
        ["pgrep", "-f", f"slurmstepd: .{job_of(sweep)}[.]"], text=True
    ).split()
    cluster.kill_node(int(node[-1]))
    for pid in (*step, *processes_of(sweep)):
        os.kill(int(pid), signal.SIGKILL)
    go_on()
    try:
        sweep.ended()
    finally:
        cluster.start_node(int(node[-1]))
    assert sweep.ends_before() == ["failed"]
    assert sweep.record()["earlier"][0]["reason"].startswith("lost: Slurm job")
    assert sweep.digests() == whole


@pytest.mark.parametrize("how", ["canceled", "run killed", "all killed"])
def test_job_that_is_ended_for_good_says_so_and_is_resumed_by_another_start(
    start, cluster, whole, how
):
    sweep = start("s", "seed=5")
    sweep.until_it_waits()
    outer, inner = processes_of(sweep)
    if how == "canceled":
        cluster.command("scancel", job_of(sweep))
    else:
        for pid in (outer, inner) if how == "all killed" else (inner,):
            os.kill(pid, signal.SIGKILL)
    sweep.ended(143 if how == "canceled" else 137)
    record = sweep.record()
    assert record["state"] == ("interrupted" if how == "canceled" else "failed")
    if how == "run killed":
        assert record["reason"].startswith("killed by SIGKILL")
    go_on()
    sweep.start()
    sweep.ended()
    assert sweep.digests() == whole


def test_ctrl_c_leaves_the_jobs_which_the_same_command_follows(start, cluster, whole):
    sweep = start("s", "seed=5")
    sweep.until_it_waits()
    job = job_of(sweep)
    sweep.process.send_signal(signal.SIGINT)
    out = sweep.ended(130)
    assert f"slurm:   the others continue; to end them: scancel {job}" in out
    assert "resume:  rl-train -m algo=ppo" in out
    assert sweep.record()["state"] == "running"
    sweep.start()
    until(lambda: sweep.log.read_text().count("sweep: 1 job, in Slurm") == 2)
    go_on()
    sweep.ended()
    assert (job_of(sweep), sweep.ends_before()) == (job, [])
    assert sweep.digests() == whole


def test_what_slurm_refuses_is_refused_before_anything_is_started(start, cluster, here):
    out = start("s", "hydra.launcher.partition=gpuu").ended(2)
    assert out.splitlines()[0] == (
        "error: Slurm refuses these jobs: allocation failure: Invalid partition name specified"
    )
    assert len(out.splitlines()) == 3
    assert not list(here.glob("s/job_*"))


def test_job_whose_setup_fails_names_its_output(start, cluster):
    out = start("s", "hydra.launcher.setup=['echo no such module >&2; exit 3']", "seed=5").ended(1)
    assert "ended as FAILED before the run started" in out
