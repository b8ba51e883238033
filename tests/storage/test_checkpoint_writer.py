"""Checkpoints are written completely or not at all, and share unchanged files."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import torch

from rl_cli.core.errors import RunError, StorageError
from rl_cli.core.state import Blocks
from rl_cli.storage import checkpoint_reader, checkpoint_writer
from rl_cli.storage import manifest as manifest_module
from rl_cli.storage.checkpoint_reader import find
from rl_cli.storage.manifest import FORMAT
from tests.storage.checkpoints import (
    STATE,
    WEIGHTS,
    bytes_of,
    measured,
    read,
    same,
    saved,
    store,
)


def test_checkpoint_round_trips_bit_for_bit(tmp_path):
    path = store(tmp_path).save(100, WEIGHTS, STATE, measured(9.5), best=False)
    assert path == tmp_path / "checkpoints" / "000000100"
    policy, state = read(path)
    assert same(policy, WEIGHTS)
    assert same(state, STATE)


def test_manifest_records_algorithm_env_and_versions(tmp_path):
    kept = store(tmp_path)
    manifest = checkpoint_reader.read_manifest(
        kept.save(100, WEIGHTS, STATE, measured(9.5), best=False)
    )
    assert (manifest.format, manifest.step, manifest.seed) == (FORMAT, 100, 7)
    assert manifest.eval == {"episodes": 5, "seed": 10_000, "greedy": True, "mean_return": 9.5}
    assert manifest.env == dataclasses.asdict(kept.identity.env)
    assert manifest.env["id"] == "CartPole-v1"
    assert manifest.algo["name"] == "dqn"
    assert manifest.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert manifest.versions["numpy"] == np.__version__
    assert (
        checkpoint_reader.read_manifest(kept.save(200, WEIGHTS, STATE, None, best=False)).eval
        is None
    )


def test_manifest_lists_size_and_sha256_of_every_other_file(tmp_path):
    path = store(tmp_path).save(100, WEIGHTS, STATE, None, best=False)
    others = {p.name: p.read_bytes() for p in path.iterdir() if p.name != "manifest.json"}
    assert set(others) == {"policy.safetensors", "state.safetensors", "state.json"}
    assert json.loads((path / "manifest.json").read_text())["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in others.items()
    }


def test_oldest_checkpoints_are_removed_and_the_best_is_kept(tmp_path):
    kept = store(tmp_path, keep=2)
    found = []
    for step, best in ((100, True), (200, False), (300, False), (400, False), (500, True)):
        kept.save(step, WEIGHTS, STATE, measured(float(step)), best)
        found.append(manifest_module.steps_in(kept.folder))
    assert found == [[100], [100, 200], [100, 200, 300], [100, 300, 400], [400, 500]]
    best = json.loads((kept.folder / "best.json").read_text())
    assert (best["step"], best["mean_return"]) == (500, 500.0)
    assert {p.name for p in kept.folder.iterdir()} == {"000000400", "000000500", "best.json"}


def test_saving_a_step_again_replaces_its_checkpoint(tmp_path):
    kept = store(tmp_path)
    kept.save(100, WEIGHTS, STATE, None, best=False)
    changed = WEIGHTS | {"actor.0.bias": np.array([5, 6], np.float32)}
    path = kept.save(100, changed, STATE | {"step": 101}, None, best=False)
    policy, state = read(path)
    assert policy["actor.0.bias"].tolist() == [5, 6]
    assert state["step"] == 101
    assert [p.name for p in kept.folder.iterdir()] == ["000000100"]


def assert_too_large(kept, weights, state, name):
    with pytest.raises(RunError, match="too large to be read again") as caught:
        kept.save(200, weights, state, None, best=False)
    assert caught.value.where.startswith(name)
    assert manifest_module.steps_in(kept.folder) == [100]
    assert [p.name for p in kept.folder.iterdir()] == ["000000100"]


def test_files_above_the_readers_limits_are_not_written(tmp_path, monkeypatch):
    """Exact to the byte: a file of the limit's size is written and read."""
    kept = store(tmp_path)
    path = kept.save(100, WEIGHTS, STATE, None, best=False)
    sizes = {p.name: p.stat().st_size for p in path.iterdir()}
    header = int.from_bytes((path / "policy.safetensors").read_bytes()[:8], "little")
    for limit, size, name in (
        ("MAX_STATE_JSON_BYTES", sizes["state.json"], "state.json"),
        ("MAX_POLICY_BYTES", sizes["policy.safetensors"], "policy.safetensors"),
        ("MAX_HEADER_BYTES", header, "policy.safetensors"),
    ):
        with monkeypatch.context() as patched:
            for module in (checkpoint_reader, checkpoint_writer):
                patched.setattr(module, limit, size)
            kept.save(100, WEIGHTS, STATE, None, best=False)
            read(path)
            patched.setattr(checkpoint_writer, limit, size - 1)
            assert_too_large(kept, WEIGHTS, STATE, name)


# Tables in pieces


def table(*versions):
    """State with a table of two rows per piece, whose values are the piece's version."""
    pieces = [{"reward": np.full(2, v, np.float32), "obs": np.full((2, 3), v)} for v in versions]
    return {"step": 1, "buffer": {"rows": Blocks(pieces, list(versions))}}


def rows_of(path):
    _, state = read(path)
    return [piece["reward"].tolist() for piece in state["buffer"]["rows"]]


def inodes(path):
    return {p.name: p.stat().st_ino for p in path.glob("buffer.rows-*")}


def test_only_pieces_that_changed_are_written(tmp_path):
    kept = store(tmp_path)
    first = kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    second = kept.save(200, WEIGHTS, table(4, 8, 9), None, best=False)
    same_name = "buffer.rows-0000-000000000004.safetensors"
    assert set(inodes(first)) & set(inodes(second)) == {same_name}
    assert inodes(first)[same_name] == inodes(second)[same_name]
    assert rows_of(first) == [[4, 4], [6, 6]]
    assert rows_of(second) == [[4, 4], [8, 8], [9, 9]]
    assert checkpoint_reader.why_broken(second) is None


def test_checkpoint_is_complete_after_removal_of_those_it_shares_files_with(tmp_path):
    kept = store(tmp_path, keep=1)
    kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    last = kept.save(200, WEIGHTS, table(4, 6), None, best=False)
    assert manifest_module.steps_in(kept.folder) == [200]
    assert rows_of(shutil.copytree(last, tmp_path / "copy")) == [[4, 4], [6, 6]]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "no links"])
def test_piece_that_cannot_be_linked_is_written_again(tmp_path, monkeypatch, harm):
    """A file that was modified or removed does not damage the next checkpoint."""
    kept = store(tmp_path)
    first = kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    file = next(first.glob("buffer.rows-0000-*"))
    if harm == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        os.truncate(file, 10)
    elif harm == "remove":
        file.unlink()
    else:
        monkeypatch.setattr(os, "link", not_permitted)
    second = kept.save(200, WEIGHTS, table(4, 6), None, best=False)
    assert rows_of(second) == [[4, 4], [6, 6]]
    assert second.joinpath(file.name).stat().st_nlink == 1


def not_permitted(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_new_store_does_not_link_existing_files(tmp_path):
    """Files of the same names may have other rows, from a run that was resumed differently."""
    store(tmp_path).save(100, WEIGHTS, table(4), None, best=False)
    other = table(4)
    other["buffer"]["rows"].pieces[0]["reward"] += 1
    second = store(tmp_path).save(200, WEIGHTS, other, None, best=False)
    assert rows_of(second) == [[5, 5]]


def test_saving_a_step_again_links_files_of_the_replaced_checkpoint(tmp_path):
    kept = store(tmp_path)
    first = inodes(kept.save(100, WEIGHTS, table(4, 6), None, best=False))
    path = kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    assert inodes(path) == first
    assert rows_of(path) == [[4, 4], [6, 6]]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_full_disk_keeps_existing_checkpoints_and_leaves_no_other_files(
    tmp_path, monkeypatch, number
):
    """The sync of one of the four files, or of their folder, fails."""
    saved(tmp_path, 100, best=[100])
    before, plain, calls = bytes_of(tmp_path), os.fsync, []

    def fsync(handle):
        calls.append(handle)
        return full_disk() if len(calls) == number else plain(handle)

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        store(tmp_path).save(200, WEIGHTS, STATE, measured(5.0), best=True)
    assert caught.value.where == str(tmp_path / "checkpoints" / "000000200")
    assert bytes_of(tmp_path) == before
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "000000100",
        "best.json",
    ]
    monkeypatch.undo()
    assert find(tmp_path).name == "000000100"
    store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)  # the disk has space again
    assert find(tmp_path).name == "000000200"


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.EIO, "Input/output error"), StorageError), (MemoryError(), MemoryError)],
)
def test_failure_before_the_first_write_leaves_no_files(tmp_path, monkeypatch, error, raised):
    saved(tmp_path, 100)
    before = bytes_of(tmp_path)

    def fails(*_):
        raise error

    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.as_safetensors", fails)
    with pytest.raises(raised):
        store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)
    assert bytes_of(tmp_path) == before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000000100"]


def test_failure_while_saving_a_step_again_keeps_its_first_checkpoint(tmp_path, monkeypatch):
    saved(tmp_path, 100)
    before = bytes_of(tmp_path)
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StorageError):
        store(tmp_path).save(100, WEIGHTS, STATE | {"step": 101}, None, best=False)
    assert bytes_of(tmp_path) == before


def test_partly_written_checkpoint_of_a_killed_process_is_ignored_and_replaced(tmp_path):
    saved(tmp_path, 100)
    part = tmp_path / "checkpoints" / ".000000200.part"
    part.mkdir()
    (part / "rubbish").write_bytes(b"half")
    assert manifest_module.steps_in(tmp_path / "checkpoints") == [100]
    path = store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)
    assert not part.exists()
    assert not (path / "rubbish").exists()
