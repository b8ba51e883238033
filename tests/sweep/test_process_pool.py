"""Children of a sweep: room for as many as wanted, their ends told, none taken along."""

import os
import signal
import time

import pytest

from rl_cli.sweep.process_pool import Pool


def collect(size, functions):
    ends = {}
    pool = Pool(size, ends.__setitem__)
    for number, function in enumerate(functions):
        pool.start(number, function)
    pool.drain()
    return ends


def test_exit_codes_come_back_by_number():
    assert collect(2, [lambda: 0, lambda: 3, lambda: 2]) == {0: 0, 1: 3, 2: 2}


def test_a_child_that_raises_or_is_killed_is_told_of_and_the_others_go_on(capfd):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def broken():
        raise RuntimeError("boom")

    assert collect(1, [killed, broken, lambda: 0]) == {0: 128 + 9, 1: 1, 2: 0}
    assert "boom" in capfd.readouterr().err


def test_a_child_that_cannot_even_print_does_not_become_a_second_parent(monkeypatch):
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


def test_no_more_children_than_wanted(tmp_path):
    """Each notes how many were there when it came."""

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


def test_a_signal_reaches_the_children_and_they_are_waited_for():
    def patient():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        time.sleep(0.3)  # until the parent sleeps
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(20)
        return 0

    ends = {}
    before = signal.getsignal(signal.SIGTERM)
    pool = Pool(2, ends.__setitem__)
    pool.start(0, patient)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(20)
    pool.drain()
    assert ends == {0: 7}
    assert pool.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
