"""B3: a process may end before, in or after every operation of a save; nothing is lost.

The reader finds the old state or the new one, whole, and the next save works. Quick: every point of
one save that shares, replaces the best and lets go of old ones; every fourth of one that comes to its
step again. Full (RL_CLI_BARS=full): first, second, rotation, same step, each with the state of every
algorithm.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
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
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity

FULL = os.environ.get("RL_CLI_BARS") == "full"
DEAD = 99
OPERATIONS = ("mkdir", "open", "write", "fsync", "rename", "replace", "link", "unlink", "rmdir")
SPEC = EnvSpec((3,), "float32", ActionSpec("discrete", (), (2,)), 1)


CONF = Path(__file__).resolve().parents[2] / "conf"


def values(path):
    return OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)


def settings(algo):
    return build(algos.load(algo).Config, values(f"algo/{algo}.yaml") | {"gamma": 0.9}, "algo")


ENV = build(EnvConfig, values("env/_base.yaml") | {"id": "CartPole-v1", "reward_gamma": 0.9}, "env")


class Points:
    """Counts what the operations do, and ends the process at the given point."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self) -> None:
        if self.left == 0:
            os._exit(DEAD)
        self.left -= 1

    def around(self, function):
        """Before and after; quick: before, since after one is before the next."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            makes = function.__name__ != "open" or args[1] & os.O_CREAT
            if makes:
                self()
            result = function(*args, **kwargs)
            if FULL and makes:
                self()
            return result

        return wrapped

    def torn(self, write):
        """A write may end in the middle."""

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
        os.fsync = lambda handle: None  # changes nothing here; their order is looked at below
        for name in OPERATIONS if FULL else set(OPERATIONS) - {"fsync"}:
            setattr(os, name, (self.torn if name == "write" else self.around)(getattr(os, name)))
        checkpoint_writer.swap = self.around(checkpoint_writer.swap)


def plain(value):
    """Nested state that compares bit by bit."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    return value


class Run:
    """Four checkpoints' worth of an algorithm's state, and a store that writes them."""

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
        """As the trainer does, with the state as it was at step `of`."""
        weights, *packed = self.contents[of or step]
        evaluation = {"episodes": 1, "seed": 0, "greedy": True, "mean_return": float(step)}
        pack, checkpoint_writer.pack = checkpoint_writer.pack, lambda state: tuple(packed)
        try:
            store.save(step, weights, {}, evaluation if best else None, best)
        finally:
            checkpoint_writer.pack = pack

    def found(self, path):
        """The step whose state a checkpoint holds, bit for bit; reads all of it."""
        manifest = checkpoint_reader.read_manifest(path)
        policy, state = (
            checkpoint_reader.read_policy(path, manifest),
            checkpoint_reader.read_state(path, manifest),
        )
        weights, tree, arrays, pieces = self.contents[state["step"]]
        expected = serialization.unpack(tree, arrays, lambda name: pieces[name]())
        assert plain(state) == plain(expected)
        assert policy["q.weight"].tolist() == weights["q.weight"].tolist()
        return state["step"]


KINDS = {  # saves before, keep, the save that dies: (step, best, state of), states it may leave
    "first": ([], 2, (100, True, 100), {None, 100}),
    "second": ([(100, True, 100)], 2, (200, False, 200), {100, 200}),
    "rotation": ([(100, True, 100), (200, False, 200)], 1, (300, True, 300), {200, 300}),
    "same step": ([(100, True, 100), (200, False, 200)], 2, (200, False, 300), {200, 300}),
}


def dies(run, store, dying, point):
    """Whether a child that saves gets as far as this point."""
    pid = os.fork()
    if pid == 0:
        try:
            Points(point).install()
            run.save(store, *dying)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DEAD)
    return code == DEAD


def look(run, folder):
    """What a reader finds: the state of the newest, and of the best; all that is there is whole."""
    steps = manifest_module.steps_in(folder)
    assert all(checkpoint_reader.why_broken(folder / f"{s:09d}") is None for s in steps)
    if not steps:
        return None, None
    best = run.found(checkpoint_reader.find(folder.parent, "best"))
    return run.found(checkpoint_reader.find(folder.parent)), best


def enumerate_points(run, kind, tmp_path, swaps=True, stride=1):
    """Die at every point in turn, or at every so many. -> how many that were."""
    before, keep, dying, may_be = KINDS[kind]
    points = 0
    while True:
        root = tmp_path / f"{points}"
        root.mkdir()
        store = CheckpointStore(root / "checkpoints", run.identity, keep)
        for save in before:
            run.save(store, *save)
        died = dies(run, store, dying, points * stride)
        if swaps:  # elsewhere the first start afterwards has to put a name back
            check(run, store.folder, may_be, kind)
        recovery.recover(store.folder)
        check(run, store.folder, may_be, kind, recovered=True)
        again = CheckpointStore(store.folder, run.identity, keep)
        run.save(again, 400, True)
        assert look(run, again.folder) == (400, 400)
        assert not [p.name for p in again.folder.iterdir() if p.name.startswith(".")]
        shutil.rmtree(root)
        if not died:
            return points
        points += 1


def check(run, folder, may_be, kind, recovered=False):
    newest, best = look(run, folder) if folder.is_dir() else (None, None)
    assert newest in may_be
    if kind == "rotation":
        assert best in (100, 300)
        if recovered:
            assert best == (300 if newest == 300 else 100)
            assert json.loads((folder / "best.json").read_text())["step"] == best


@pytest.fixture
def no_waiting(monkeypatch):
    """Syncing takes most of the time and changes nothing that a killed process leaves."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("algo", sorted(algos.names()) if FULL else ["dqn"])
@pytest.mark.parametrize("kind", list(KINDS) if FULL else ["rotation"])
def test_a_save_that_dies_at_any_point_loses_nothing(tmp_path, no_waiting, algo, kind):
    points = enumerate_points(Run(algo), kind, tmp_path)
    assert points > 30
    print(f"B3 got/needed: {points}/{points} points of a save ({kind}, {algo})")


@pytest.mark.parametrize("swaps", [True, False] if FULL else [False])
def test_a_step_that_comes_again_is_there_at_any_point(tmp_path, no_waiting, monkeypatch, swaps):
    """Also where a filesystem cannot exchange two names."""
    if not swaps:
        monkeypatch.setattr(checkpoint_writer, "swap", lambda a, b: False)
    points = enumerate_points(Run("dqn"), "same step", tmp_path, swaps, 1 if FULL else 4)
    assert points > 10
    how = "exchange" if swaps else "no exchange"
    print(f"B3 got/needed: {points}/{points} points of a save (same step, {how})")


def test_everything_is_on_the_disk_before_it_has_a_name(tmp_path, monkeypatch):
    """Else a power cut leaves a name without content. And nothing goes before the new is there."""
    run = Run("dqn")
    store = CheckpointStore(tmp_path / "checkpoints", run.identity, keep=1)
    run.save(store, 100, best=True)
    run.save(store, 200, best=False)
    said = record(monkeypatch)
    run.save(store, 300, best=True)
    monkeypatch.undo()
    part, target = ".000000300.part", "000000300"
    files = [p.name for p in (store.folder / target).iterdir()]
    linked = [name for op, name in said if op == "link"]
    assert len(linked) >= 2
    for name in set(files) - set(linked):
        last_write = max(i for i, s in enumerate(said) if s == ("write", name))
        assert last_write < said.index(("fsync", name)) < said.index(("fsync", part))
    assert max(said.index(("link", name)) for name in linked) < said.index(("fsync", part))
    named = said.index(("rename", f"{part} {target}"))
    assert said.index(("fsync", part)) < named < said.index(("fsync", "checkpoints"))
    rest = said[named + 1 :]
    assert rest[0] == ("fsync", "checkpoints")
    best = rest.index(("replace", ".best.json.part best.json"))
    assert rest.index(("fsync", ".best.json.part")) < best
    assert rest[best + 1] == ("fsync", "checkpoints")
    destroyed = [i for i, s in enumerate(said) if s[0] in ("unlink", "rmdir")]
    gone = [i for i, s in enumerate(said) if s[1].endswith(".gone") and s[0] == "rename"]
    assert len(gone) == 2
    assert min(destroyed) > gone[0] > named + 1 + best


def record(monkeypatch):
    """Operations as they come, with the names of the files they are about."""
    said = []

    def wrap(op, plain):
        def wrapped(*args, **kwargs):
            if op in ("fsync", "write"):
                names = [os.path.basename(os.readlink(f"/proc/self/fd/{args[0]}"))]
            elif op == "link":
                names = [Path(args[1]).name]
            else:
                names = [Path(os.fspath(a)).name for a in args[:2] if isinstance(a, str | Path)]
            said.append((op, " ".join(names)))
            return plain(*args, **kwargs)

        return wrapped

    for op in set(OPERATIONS) - {"open"}:
        monkeypatch.setattr(os, op, wrap(op, getattr(os, op)))
    return said


def test_a_swap_exchanges_two_folders_where_the_system_can(tmp_path):
    from rl_cli.storage.atomic_files import swap

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not swap(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this filesystem cannot exchange names")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    with pytest.raises(FileNotFoundError):
        swap(tmp_path / "a", tmp_path / "c")
