"""Records of a sweep's jobs, and files of its folder, that anybody made."""

from __future__ import annotations

import json
import os
import random

import pytest

from rl_cli.cli import train
from rl_cli.sweep import records, report, sweep
from tests.conftest import FULL

GOOD = {
    "overrides": ["seed=1"],
    "labels": ["dqn", "cartpole"],
    "seed": 1,
    "config": "0123456789abcdef",
    "run_dir": "runs/dqn/cartpole/x",
    "earlier": [],
    "eval_return": 12.5,
    "seconds": 3.0,
    "step": 100,
    "exit_code": 0,
    "state": "completed",
    "reason": "budget",
}
FORGED = [
    *(None, True, -1, 3.5, 10**400, 1e308, float("nan"), "text", "\x1b[2J\ud800", "/" * 9_000, "a\0b"),
    *([], [1], [[]], {}, {"a": 1}, ["x"] * 3, "missing"),
]  # fmt: skip
TEXTS = [
    *(b"", b"[]", b"3", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5_000, b'"\\ud800"'),
    *(b'{"exit_code": 1e999}', b"\0" * 100, b'{"state": "completed"}', b" " * (2 << 20)),
]  # fmt: skip


def forged():
    """Bytes of records: each field forged, in turn, and texts that are no record."""
    yield from TEXTS
    for name in GOOD:
        for value in FORGED:
            record = {**GOOD, name: value}
            if value == "missing":
                del record[name]
            yield json.dumps(record).encode()


def test_forged_records_are_left_out_or_read(tmp_path, capsys):
    """The report, the search for finished jobs and the next attempt accept each of them."""
    (tmp_path / "job_0000.json").write_text(json.dumps(GOOD))
    path = tmp_path / "job_0001.json"
    every = list(forged())
    for data in every if FULL else [TEXTS[5], *random.Random(0).sample(every, 40)]:
        path.write_bytes(data)
        assert report.report(tmp_path) in range(256)
        for found in sweep._records(tmp_path).values():
            for _, record in found:
                sweep._is_complete(record)
                sweep._to_resume(record)
                sweep._attempts(record)
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "not a record of a job, left out" in out


def test_bytes_changed_at_random_give_a_record_or_none(tmp_path):
    rng, data = random.Random(0), json.dumps(GOOD).encode()
    path = tmp_path / "job_0001.json"
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(
            bytes(changed[: rng.randint(1, len(changed))]) if rng.random() < 0.2 else changed
        )
        record = records.load(path)
        assert record == {} or isinstance(record["exit_code"], int)


def test_record_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "job_0001.json"
    path.write_text(json.dumps({k: GOOD[k] for k in ("state", "run_dir", "exit_code", "config")}))
    assert records.load(path)["overrides"] == []


@pytest.mark.parametrize(
    "name", ["job_0000.json", "job_0000.log", ".lock", ".lock.soft", "multirun.yaml"]
)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device"])
def test_special_file_in_the_folder_of_a_sweep_is_refused(here, capsys, name, kind):
    """Nothing behind a link is created or changed, and a pipe does not block."""
    (here / "s").mkdir()
    (here / "mine").write_text("mine")
    path = here / "s" / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": here / "mine", "device": "/dev/zero"}.get(kind, here / "none"))
    assert train.run(["-m", "seed=0,1", "hydra.sweep.dir=s", "total_timesteps=50"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert (here / "mine").read_text() == "mine"
    assert not (here / "none").exists()
    assert sorted(p.name for p in here.iterdir()) == ["mine", "s"]
    assert os.listdir(here / "s") == [name]
