"""B3: a process that dies before, during or after any file operation of a save loses no checkpoint.

A reader then finds the complete old state or the complete new state, and the next save works. Short form:
every crash point of one save that shares blocks, replaces the best checkpoint and deletes old ones; every
fourth point of a save of a step that exists already. Long form: the first save, the second, a rotation and
a repeated step, each with the state of every algorithm.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.state import Piece
from rl_cli.core.types import ActionSpec, EnvSpec, Transition
from rl_cli.storage import (
    checkpoint_reader,
    checkpoint_writer,
    recovery,
    serialization,
)
from rl_cli.storage import manifest as manifest_module
from rl_cli.storage.atomic_files import part_of
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity
from tests.bars.results import report
from tests.conftest import FULL

DEAD = 99
OPERATIONS = ("mkdir", "open", "write", "fsync", "rename", "replace", "link", "unlink", "rmdir")
SPEC = EnvSpec((3,), "float32", ActionSpec("discrete", (), (2,)), 1)


CONF = Path(__file__).resolve().parents[2] / "conf"


def read_conf(path):
    return OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)


def settings(algo):
    return build(algos.load(algo).Config, read_conf(f"algo/{algo}.yaml") | {"gamma": 0.9}, "algo")


ENV = build(
    EnvConfig, read_conf("env/_base.yaml") | {"id": "CartPole-v1", "reward_gamma": 0.9}, "env"
)


class CrashPoints:
    """Counts the points before, during and after file operations, and ends the process at the last one."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self) -> None:
        if self.left == 0:
            os._exit(DEAD)
        self.left -= 1

    def around(self, function):
        """Points before and after; short form: before only, because after one call is before the next."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            writes = function.__name__ != "open" or args[1] & os.O_CREAT
            if writes:
                self()
            result = function(*args, **kwargs)
            if FULL and writes:
                self()
            return result

        return wrapped

    def split(self, write):
        """Points before, in the middle of and after a write."""

        def wrapped(handle, data):
            self()
            half = write(handle, data[: len(data) // 2])
            self()
            rest = write(handle, data[half:])
            if FULL:
                self()
            return half + rest

        return wrapped

    def install(self) -> None:
        # fsync has no effect on what a dead process leaves; its order is tested below
        os.fsync = lambda handle: None
        for name in OPERATIONS if FULL else set(OPERATIONS) - {"fsync"}:
            setattr(os, name, (self.split if name == "write" else self.around)(getattr(os, name)))
        replace_function(checkpoint_writer.swap, self.around(checkpoint_writer.swap))


def replace_function(function, new):
    """Replace a function in every module of rl_cli that has imported it."""
    modules = [module for name, module in sys.modules.items() if name.startswith("rl_cli.")]
    names = [(m, name) for m in modules for name, value in vars(m).items() if value is function]
    assert names
    for module, name in names:
        setattr(module, name, new)


def comparable(value):
    """Nested state as values that compare bit by bit."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [comparable(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    return value


class Run:
    """The state of an algorithm at four steps, and methods to save it and to recognize it."""

    def __init__(self, algo: str) -> None:
        cls, cfg = algos.load(algo), settings(algo)
        agent = cls(cfg, SPEC, 1000, 0, torch.device("cpu"))
        if isinstance(agent.buffer, ReplayBuffer):
            agent.buffer.block_rows = 4
        self.identity = Identity(0, cfg, ENV)
        self.contents = {}
        for step in (100, 200, 300, 400):
            for i in range(5):
                row = np.full((1, 3), step + i, np.float32)
                no = np.zeros(1, bool)
                action = np.zeros(1, np.int64)
                agent.observe(Transition(row, action, np.ones(1, np.float32), row + 1, no, no))
            weights = {"q.weight": np.full(3, step, np.float32)}
            state = {"step": step, "algo": agent.state_dict()}
            tree, arrays, pieces = serialization.pack(state)
            copies = {n: Piece({k: a.copy() for k, a in p().items()}) for n, p in pieces.items()}
            self.contents[step] = (weights, tree, {k: a.copy() for k, a in arrays.items()}, copies)

    def save(self, store, step, best, of=None):
        """Save as the trainer does, with the state of step `of`."""
        weights, *packed = self.contents[of or step]
        evaluation = {"episodes": 1, "seed": 0, "greedy": True, "mean_return": float(step)}
        pack, packs_earlier_state = serialization.pack, lambda state: tuple(packed)
        replace_function(pack, packs_earlier_state)
        try:
            store.save(step, weights, {}, evaluation if best else None, best)
        finally:
            replace_function(packs_earlier_state, pack)

    def found(self, path):
        """Read a whole checkpoint. Returns the step whose state it contains, bit for bit."""
        manifest = checkpoint_reader.read_manifest(path)
        policy, state = (
            checkpoint_reader.read_policy(path, manifest),
            checkpoint_reader.read_state(path, manifest),
        )
        weights, tree, arrays, pieces = self.contents[state["step"]]
        expected = serialization.unpack(tree, arrays, lambda name: pieces[name]())
        assert comparable(state) == comparable(expected)
        assert policy["q.weight"].tolist() == weights["q.weight"].tolist()
        return state["step"]


KINDS = {  # saves before, keep, interrupted save: (step, best, state of), states that may remain
    "first": ([], 2, (100, True, 100), {None, 100}),
    "second": ([(100, True, 100)], 2, (200, False, 200), {100, 200}),
    "rotation": ([(100, True, 100), (200, False, 200)], 1, (300, True, 300), {200, 300}),
    "same step": ([(100, True, 100), (200, False, 200)], 2, (200, False, 300), {200, 300}),
}


def crash_save(run, store, save, point):
    """Save in a child process that ends at this point. Returns whether it reached the point."""
    pid = os.fork()
    if pid == 0:
        try:
            CrashPoints(point).install()
            run.save(store, *save)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DEAD)
    return code == DEAD


def read_steps(run, folder):
    """Check that all checkpoints are complete. Returns the steps of the latest and of the best."""
    steps = manifest_module.steps_in(folder)
    assert all(checkpoint_reader.why_broken(folder / f"{s:09d}") is None for s in steps)
    if not steps:
        return None, None
    best = run.found(checkpoint_reader.find(folder.parent, "best"))
    return run.found(checkpoint_reader.find(folder.parent)), best


def enumerate_points(run, kind, tmp_path, swaps=True, stride=1):
    """Crash at every `stride`-th point in turn. Returns the number of points."""
    before, keep, interrupted, allowed = KINDS[kind]
    points = 0
    while True:
        root = tmp_path / f"{points}"
        root.mkdir()
        store = CheckpointStore(root / "checkpoints", run.identity, keep)
        for save in before:
            run.save(store, *save)
        died = crash_save(run, store, interrupted, points * stride)
        if swaps:  # without exchange, recovery has to rename a folder first
            check(run, store.folder, allowed, kind)
        recovery.recover(store.folder)
        check(run, store.folder, allowed, kind, recovered=True)
        again = CheckpointStore(store.folder, run.identity, keep)
        run.save(again, 400, True)
        assert read_steps(run, again.folder) == (400, 400)
        assert not [p.name for p in again.folder.iterdir() if p.name.startswith(".")]
        shutil.rmtree(root)
        if not died:
            return points
        points += 1


def check(run, folder, allowed, kind, recovered=False):
    latest, best = read_steps(run, folder) if folder.is_dir() else (None, None)
    assert latest in allowed
    if kind == "rotation":
        assert best in (100, 300)
        if recovered:
            assert best == (300 if latest == 300 else 100)
            assert json.loads((folder / "best.json").read_text())["step"] == best


@pytest.fixture
def no_fsync(monkeypatch):
    """fsync takes most of the time and has no effect on what a killed process leaves."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("algo", sorted(algos.names()) if FULL else ["dqn"])
@pytest.mark.parametrize("kind", list(KINDS) if FULL else ["rotation"])
def test_save_interrupted_at_any_point_loses_nothing(tmp_path, no_fsync, algo, kind):
    points = enumerate_points(Run(algo), kind, tmp_path)
    assert points > 30
    report(3, points, points, f"points of a save ({kind}, {algo})")


@pytest.mark.parametrize("swaps", [True, False] if FULL else [False])
def test_repeated_step_is_readable_at_any_point(tmp_path, no_fsync, swaps):
    """Also on a filesystem that cannot exchange two names."""
    swap, never_swaps = checkpoint_writer.swap, lambda a, b: False
    if not swaps:
        replace_function(swap, never_swaps)
    try:
        points = enumerate_points(Run("dqn"), "same step", tmp_path, swaps, 1 if FULL else 4)
    finally:
        if not swaps:
            replace_function(never_swaps, swap)
    assert points > 10
    how = "exchange" if swaps else "no exchange"
    report(3, points, points, f"points of a save (same step, {how})")


def test_files_are_synced_before_renamed_and_deleted_last(tmp_path, monkeypatch):
    """Otherwise a power failure leaves a name without content, or no checkpoint at all."""
    run = Run("dqn")
    store = CheckpointStore(tmp_path / "checkpoints", run.identity, keep=1)
    run.save(store, 100, best=True)
    run.save(store, 200, best=False)
    calls = record_calls(monkeypatch)
    run.save(store, 300, best=True)
    monkeypatch.undo()
    part, target = ".000000300.part", "000000300"
    files = [p.name for p in (store.folder / target).iterdir()]
    linked = [name for op, name in calls if op == "link"]
    assert len(linked) >= 2
    for name in set(files) - set(linked):
        last_write = max(i for i, s in enumerate(calls) if s == ("write", name))
        assert last_write < calls.index(("fsync", name)) < calls.index(("fsync", part))
    assert max(calls.index(("link", name)) for name in linked) < calls.index(("fsync", part))
    named = calls.index(("rename", f"{part} {target}"))
    assert calls.index(("fsync", part)) < named < calls.index(("fsync", "checkpoints"))
    rest = calls[named + 1 :]
    assert rest[0] == ("fsync", "checkpoints")
    temporary = part_of(store.folder / "best.json").name
    best = rest.index(("replace", f"{temporary} best.json"))
    assert rest.index(("fsync", temporary)) < best
    assert rest[best + 1] == ("fsync", "checkpoints")
    destroyed = [i for i, s in enumerate(calls) if s[0] in ("unlink", "rmdir")]
    gone = [i for i, s in enumerate(calls) if s[1].endswith(".gone") and s[0] == "rename"]
    assert len(gone) == 2
    assert min(destroyed) > gone[0] > named + 1 + best


def record_calls(monkeypatch):
    """A list that receives each file operation with the names of its files."""
    calls = []

    def wrap(op, original):
        def wrapped(*args, **kwargs):
            if op in ("fsync", "write"):
                names = [os.path.basename(os.readlink(f"/proc/self/fd/{args[0]}"))]
            elif op == "link":
                names = [Path(args[1]).name]
            else:
                names = [Path(os.fspath(a)).name for a in args[:2] if isinstance(a, str | Path)]
            calls.append((op, " ".join(names)))
            return original(*args, **kwargs)

        return wrapped

    for op in set(OPERATIONS) - {"open"}:
        monkeypatch.setattr(os, op, wrap(op, getattr(os, op)))
    return calls


def test_swap_exchanges_two_folders(tmp_path):
    from rl_cli.storage.atomic_files import swap

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not swap(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this filesystem cannot exchange names")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    with pytest.raises(FileNotFoundError):
        swap(tmp_path / "a", tmp_path / "c")
