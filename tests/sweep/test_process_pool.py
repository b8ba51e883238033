"""Process pools of a sweep: their size, exit codes, signals, and independence of the jobs."""

import os
import signal
import sys
import time

from rl_cli.sweep.process_pool import ForkPool, SpawnPool

READ_JOB = "import json, os, signal, sys, time; job = json.load(sys.stdin); "


def call(function):
    return function()


def finished(pool, jobs):
    """Exit codes by number of the jobs."""
    for number, job in enumerate(jobs):
        pool.start(number, job)
    pool.drain()


def collect(size, functions):
    ends = {}
    finished(ForkPool(size, ends.__setitem__, call), functions)
    return ends


def test_forked_jobs_return_exit_codes_by_number():
    assert collect(2, [lambda: 0, lambda: 3, lambda: 2]) == {0: 0, 1: 3, 2: 2}


def test_spawned_jobs_read_json_and_return_exit_codes_by_number():
    ends = {}
    code = READ_JOB + "sys.exit(job['code'])"
    pool = SpawnPool(2, ends.__setitem__, [sys.executable, "-c", code])
    finished(pool, [{"code": 0}, {"code": 3}, {"code": 2}])
    assert ends == {0: 0, 1: 3, 2: 2}


def test_spawned_job_that_is_killed_does_not_stop_the_others():
    ends = {}
    code = READ_JOB + "os.kill(os.getpid(), signal.SIGKILL) if job['kill'] else None"
    pool = SpawnPool(1, ends.__setitem__, [sys.executable, "-c", code])
    finished(pool, [{"kill": True}, {"kill": False}])
    assert ends == {0: 128 + 9, 1: 0}


def test_spawned_job_receives_the_signal_once_and_is_waited_for(tmp_path):
    """Its own process group keeps a terminal's Ctrl-C from reaching it twice."""
    ends, ready = {}, tmp_path / "ready"
    code = READ_JOB + (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "open(job['ready'], 'w').close(); time.sleep(30)"
    )
    pool = SpawnPool(2, ends.__setitem__, [sys.executable, "-c", code])
    assert pool.start(0, {"ready": str(ready)})
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (pid,) = pool.running
    assert os.getpgid(pid) == pid
    os.kill(os.getpid(), signal.SIGTERM)
    assert pool.start(1, {"ready": str(ready)}) is False
    pool.drain()
    assert ends == {0: 7}
    assert pool.signum == signal.SIGTERM


def test_no_job_is_started_after_a_signal_that_arrives_while_it_waits():
    """A job that the signal reaches before it has a handler counts as stopped, without a traceback."""

    def stopped():
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(20)  # the parent sends it on
        return 0

    ends = {}
    pool = ForkPool(1, ends.__setitem__, call)
    assert [pool.start(i, stopped) for i in range(3)] == [True, False, False]
    pool.drain()
    assert ends == {0: 130}
    assert pool.signum == signal.SIGINT


def test_forked_job_that_raises_or_is_killed_does_not_stop_the_others(capfd):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def broken():
        raise RuntimeError("boom")

    assert collect(1, [killed, broken, lambda: 0]) == {0: 128 + 9, 1: 1, 2: 0}
    assert "boom" in capfd.readouterr().err


def test_forked_job_that_cannot_print_exits(monkeypatch):
    class Full:
        def write(self, text):
            raise OSError("no space left")

        def flush(self):
            if os.getpid() != parent:
                raise OSError("no space left")

    parent = os.getpid()
    monkeypatch.setattr("sys.stdout", Full())
    assert collect(1, [lambda: 0, lambda: 5]) == {0: 0, 1: 5}
    assert os.getpid() == parent


def test_pool_runs_at_most_size_jobs_at_a_time(tmp_path):
    """Each job returns the number of jobs that ran when it started."""

    def job(name):
        def run():
            (tmp_path / name).touch()
            there = len(list(tmp_path.iterdir()))
            time.sleep(0.1)
            (tmp_path / name).unlink()
            return there

        return run

    ends = collect(2, [job(str(i)) for i in range(6)])
    assert max(ends.values()) == 2


def test_signal_is_sent_on_to_the_jobs_and_they_are_waited_for():
    def exits_on_signal():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(20)
        return 0

    ends = {}
    before = signal.getsignal(signal.SIGTERM)
    pool = ForkPool(2, ends.__setitem__, call)
    assert pool.start(0, exits_on_signal) is True
    pool.drain()
    assert ends == {0: 7}
    assert pool.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
