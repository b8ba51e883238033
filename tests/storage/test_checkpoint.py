"""What is saved comes back bit for bit, or is refused by the name of the file that is broken."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rl_cli.core.errors import BadInput, RunError, StorageError
from rl_cli.core.state import Blocks
from rl_cli.storage import checkpoint_reader, checkpoint_writer
from rl_cli.storage import manifest as manifest_module
from rl_cli.storage.checkpoint_reader import find
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity
from rl_cli.storage.manifest import FORMAT, seal
from rl_cli.storage.serialization import as_safetensors, pack, unpack
from rl_cli.training import resume
from tests.algos.test_algorithms import env_config
from tests.algos.test_algorithms import settings as algo_settings

WEIGHTS = {
    "actor.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "actor.0.bias": np.array([-0.0, 1e-45], np.float32),  # signed zero and a denormal: bits count
    "obs_normalizer.count": np.array(17.0),
}
STATE = {
    "step": 100,
    "rng": {"state": 2**127 + 1, "has_uint32": 0},
    "begun": [{"seed": 3}, {"rng": {"inc": 2**100}}],
    "best_return": None,
    "obs": np.linspace(0, 1, 4),
    "pixels": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
}


def store(folder, keep=2):
    identity = Identity(7, algo_settings("dqn"), env_config("CartPole-v1", num_envs=3))
    return CheckpointStore(folder / "checkpoints", identity, keep)


def measured(value):
    return {"episodes": 5, "seed": 10_000, "greedy": True, "mean_return": value}


def saved(folder, *steps, best=()):
    """A run folder with these checkpoints; those in `best` were the best when they were saved."""
    folder.mkdir(exist_ok=True)
    kept = store(folder, keep=10)
    for step in steps:
        kept.save(step, WEIGHTS, STATE, measured(float(step)), step in best)
    return folder


def read(path):
    """All that a resumed run reads."""
    manifest = checkpoint_reader.read_manifest(path)
    return checkpoint_reader.read_policy(path, manifest), checkpoint_reader.read_state(
        path, manifest
    )


def bytes_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same(a, b):
    """Equal in type, shape and every bit."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


# State as JSON and arrays


def through_files(state):
    tree, arrays, pieces = pack(state)
    text, data = json.dumps(tree), b"".join(as_safetensors(arrays))
    return unpack(json.loads(text), safetensors.numpy.load(data), lambda name: pieces[name]())


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        True,
        2**127 + 1,
        -0.1,
        float("inf"),
        "text",
        np.array(3.5),  # no dimension
        np.zeros((0, 3), np.float32),  # no rows, as of an episode that has just begun
        np.array([True, False, True]),
        np.array([2**62, -1]),
        np.array([[1, 2], [3, 4]], np.uint8),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=repr,
)
def test_state_of_any_kind_comes_back_as_it_was(value):
    nested = {"a": value, "b": [value, {"c": [value]}]}
    assert same(through_files(nested), nested)


def test_a_file_of_arrays_is_aligned_and_has_no_holes():
    arrays = {"a": np.zeros(3, np.uint8), "b": np.arange(2.0), "c": np.ones((2, 1), np.float32)}
    data = b"".join(as_safetensors(arrays))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert {k: v["data_offsets"] for k, v in header.items()} == {
        "b": [0, 16],
        "c": [16, 24],
        "a": [24, 27],
    }
    assert len(data) == 8 + size + 27
    assert same(safetensors.numpy.load(data), {k: arrays[k] for k in header})


def test_a_transposed_array_comes_back_in_its_order():
    array = np.arange(6).reshape(2, 3).T
    assert through_files({"a": array})["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_tensors_come_back_as_arrays_and_tuples_as_lists_and_numpy_numbers_as_plain_ones():
    state = {
        "moment": torch.arange(4, dtype=torch.float32, requires_grad=True).reshape(2, 2),
        "flag": torch.tensor([True, False]),
        "pair": (1, np.float64(0.5)),
        "count": np.int64(3),
        "done": np.bool_(True),
    }
    expected = {
        "moment": np.array([[0, 1], [2, 3]], np.float32),
        "flag": np.array([True, False]),
        "pair": [1, 0.5],
        "count": 3,
        "done": True,
    }
    assert same(through_files(state), expected)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.lists(st.integers(0, 255), max_size=4).map(lambda v: np.array(v, np.uint8))
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab.01", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
@example({"a": [np.array([1])], "a.0": np.array([2])})
@settings(deadline=None)
def test_any_tree_comes_back_as_it_was(tree):
    """Also where one name with a dot in it reads like a path of two."""
    assert same(through_files({"state": tree}), {"state": tree})


# Saving


def test_a_checkpoint_reads_back_bit_for_bit(tmp_path):
    path = store(tmp_path).save(100, WEIGHTS, STATE, measured(9.5), best=False)
    assert path == tmp_path / "checkpoints" / "000000100"
    policy, state = read(path)
    assert same(policy, WEIGHTS)
    assert same(state, STATE)


def test_the_manifest_says_what_was_trained_on_what(tmp_path):
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


def test_the_manifest_lists_size_and_sha256_of_every_other_file(tmp_path):
    path = store(tmp_path).save(100, WEIGHTS, STATE, None, best=False)
    others = {p.name: p.read_bytes() for p in path.iterdir() if p.name != "manifest.json"}
    assert set(others) == {"policy.safetensors", "state.safetensors", "state.json"}
    assert json.loads((path / "manifest.json").read_text())["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in others.items()
    }


def test_the_oldest_go_and_the_best_stays(tmp_path):
    kept = store(tmp_path, keep=2)
    found = []
    for step, best in ((100, True), (200, False), (300, False), (400, False), (500, True)):
        kept.save(step, WEIGHTS, STATE, measured(float(step)), best)
        found.append(manifest_module.steps_in(kept.folder))
    assert found == [[100], [100, 200], [100, 200, 300], [100, 300, 400], [400, 500]]
    best = json.loads((kept.folder / "best.json").read_text())
    assert (best["step"], best["mean_return"]) == (500, 500.0)
    assert {p.name for p in kept.folder.iterdir()} == {"000000400", "000000500", "best.json"}


def test_a_step_that_comes_again_replaces_its_checkpoint(tmp_path):
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


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    """To the byte: what has just so many bytes is written, and read."""
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
            for room in (checkpoint_reader, checkpoint_writer):
                patched.setattr(room, limit, size)
            kept.save(100, WEIGHTS, STATE, None, best=False)
            read(path)
            patched.setattr(checkpoint_writer, limit, size - 1)
            assert_too_large(kept, WEIGHTS, STATE, name)


# Tables in pieces


def table(*versions):
    """State with a table of two rows a piece, whose rows are the piece's version."""
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


def test_a_checkpoint_stays_whole_when_those_it_shares_files_with_go(tmp_path):
    kept = store(tmp_path, keep=1)
    kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    last = kept.save(200, WEIGHTS, table(4, 6), None, best=False)
    assert manifest_module.steps_in(kept.folder) == [200]
    assert rows_of(shutil.copytree(last, tmp_path / "copy")) == [[4, 4], [6, 6]]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "no links"])
def test_a_piece_that_cannot_be_shared_is_written_anew(tmp_path, monkeypatch, harm):
    """A file that somebody has written into, or removed, does not spoil the next checkpoint."""
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


def test_another_start_shares_nothing_with_what_lies_there(tmp_path):
    """The same names may stand for other rows there: of a run that went another way."""
    store(tmp_path).save(100, WEIGHTS, table(4), None, best=False)
    other = table(4)
    other["buffer"]["rows"].pieces[0]["reward"] += 1
    second = store(tmp_path).save(200, WEIGHTS, other, None, best=False)
    assert rows_of(second) == [[5, 5]]


def test_a_step_that_comes_again_shares_with_the_one_it_replaces(tmp_path):
    kept = store(tmp_path)
    first = inodes(kept.save(100, WEIGHTS, table(4, 6), None, best=False))
    path = kept.save(100, WEIGHTS, table(4, 6), None, best=False)
    assert inodes(path) == first
    assert rows_of(path) == [[4, 4], [6, 6]]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_disk_that_fills_up_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, number):
    """At the sync of any of the four files, or of their folder."""
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
    store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)  # and there is room again
    assert find(tmp_path).name == "000000200"


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.EIO, "Input/output error"), StorageError), (MemoryError(), MemoryError)],
)
def test_a_failure_before_the_first_byte_leaves_nothing_either(
    tmp_path, monkeypatch, error, raised
):
    saved(tmp_path, 100)
    before = bytes_of(tmp_path)

    def fails(*_):
        raise error

    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.as_safetensors", fails)
    with pytest.raises(raised):
        store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)
    assert bytes_of(tmp_path) == before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000000100"]


def test_a_failure_while_a_step_comes_again_keeps_its_first_checkpoint(tmp_path, monkeypatch):
    saved(tmp_path, 100)
    before = bytes_of(tmp_path)
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StorageError):
        store(tmp_path).save(100, WEIGHTS, STATE | {"step": 101}, None, best=False)
    assert bytes_of(tmp_path) == before


def test_what_a_killed_process_left_half_written_is_no_checkpoint_and_in_nobodys_way(tmp_path):
    saved(tmp_path, 100)
    part = tmp_path / "checkpoints" / ".000000200.part"
    part.mkdir()
    (part / "rubbish").write_bytes(b"half")
    assert manifest_module.steps_in(tmp_path / "checkpoints") == [100]
    path = store(tmp_path).save(200, WEIGHTS, STATE, None, best=False)
    assert not part.exists()
    assert not (path / "rubbish").exists()


# Broken checkpoints


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


def text(content):
    return lambda path: path.write_bytes(content)


def fields_of(path):
    """What a manifest says, without its seal."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}


def edited(**changes):
    def edit(path):
        path.write_bytes(seal(fields_of(path) | changes))

    return edit


def unsealed(**changes):
    return lambda path: path.write_text(json.dumps(fields_of(path) | changes))


def forget_a_key(path):
    manifest = fields_of(path)
    del manifest["env"]
    path.write_bytes(seal(manifest))


def forget_the_policy(path):
    manifest = fields_of(path)
    del manifest["files"]["policy.safetensors"]
    path.write_bytes(seal(manifest))


def another_seed(path):
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))


def put_beside(path):
    (path.parent / "policy.pkl").write_bytes(b"")


DATA = ("policy.safetensors", "state.safetensors", "state.json")
BREAKS = [
    *((name, flip_a_bit, "SHA-256") for name in DATA),
    *((name, cut_in_half, "bytes, not") for name in DATA),
    *((name, remove, "No such file or directory") for name in (*DATA, "manifest.json")),
    ("manifest.json", cut_in_half, " column "),
    ("manifest.json", flip_a_bit, ""),
    ("manifest.json", another_seed, "changed since it was written"),
    ("manifest.json", text(b""), "Expecting"),
    ("manifest.json", text(b"\xff\xfe\x00"), "codec"),
    ("manifest.json", text(b"[]"), "no format"),
    ("manifest.json", text(b"{}"), "no format"),
    ("manifest.json", text(b"[" * 200_000), "nested too deeply"),
    ("manifest.json", text(b" " * (1 << 20) + b"{}"), "too large"),
    ("manifest.json", edited(format=FORMAT + 1), f"newer than this program's {FORMAT}"),
    ("manifest.json", edited(format="1"), "no format"),
    ("manifest.json", edited(format=True), "no format"),
    ("manifest.json", edited(format=0), "format"),
    ("manifest.json", edited(format=1), "unknown key sha256"),
    ("manifest.json", unsealed(), "the seal at its end is missing"),
    ("manifest.json", edited(extra=1), "unknown key extra"),
    ("manifest.json", edited(step="100"), "step"),
    ("manifest.json", edited(step=100), "its step is 100"),
    ("manifest.json", edited(files={"policy.safetensors": {"sha256": "0"}}), "bytes"),
    ("manifest.json", edited(files={"../x": {"sha256": "0", "bytes": 1}}), "not a file name"),
    ("manifest.json", forget_a_key, "env has no value"),
    ("manifest.json", forget_the_policy, "does not list policy.safetensors"),
    ("policy.pkl", put_beside, "does not list it"),
]


@pytest.mark.parametrize(
    ("name", "break_it", "why"), BREAKS, ids=[f"{n}-{b.__name__}-{w}" for n, b, w in BREAKS]
)
def test_a_broken_checkpoint_is_refused_by_the_name_of_its_file(tmp_path, name, break_it, why):
    path = find(saved(tmp_path, 100, 200), "200")
    read(path)
    break_it(path / name)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert why in caught.value.what
    assert "\n" not in caught.value.what
    assert caught.value.where == str(path / name)
    assert caught.value.exit_code == 2
    newer = "newer" in why  # every other checkpoint of that run is as new
    assert caught.value.fix == (
        "upgrade rl-cli" if newer else "use the intact checkpoint of step 100: checkpoint=100"
    )
    assert str(path / name).endswith(str(checkpoint_reader.why_broken(path)).split(":")[0]) or newer
    assert checkpoint_reader.why_broken(find(tmp_path, "100")) is None


def test_a_file_that_matches_its_manifest_but_holds_no_arrays_is_refused(tmp_path):
    path = find(saved(tmp_path, 100))
    rubbish = b"\xff" * 64
    (path / "policy.safetensors").write_bytes(rubbish)
    manifest = fields_of(path / "manifest.json")
    entry = {"sha256": hashlib.sha256(rubbish).hexdigest(), "bytes": 64}
    manifest["files"]["policy.safetensors"] = entry
    (path / "manifest.json").write_bytes(seal(manifest))
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.where == str(path / "policy.safetensors")
    assert caught.value.fix == "this run has no other intact checkpoint"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    weights = WEIGHTS | {"actor.0.bias": np.array([0, value], np.float32)}
    path = store(tmp_path).save(100, weights, STATE, None, best=False)
    with pytest.raises(BadInput, match=r"actor\.0\.bias is not finite") as caught:
        checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))
    assert caught.value.where == str(path / "policy.safetensors")


def test_going_on_passes_over_the_broken_ones_and_says_what_they_lack(tmp_path):
    saved(tmp_path, 100, 200, 300, 400)
    flip_a_bit(find(tmp_path, "400") / "state.json")
    remove(find(tmp_path, "300") / "manifest.json")
    found, passed_over = resume.read(tmp_path)
    assert found.manifest.step == 200
    assert [path.name for path, _ in passed_over] == ["000000400", "000000300"]
    assert passed_over[0][1].startswith("state.json: broken checkpoint: SHA-256")
    assert "manifest.json: broken checkpoint: No such file" in passed_over[1][1]


def test_nothing_goes_on_from_before_a_checkpoint_of_a_later_version(tmp_path):
    saved(tmp_path, 100, 200)
    edited(format=FORMAT + 1)(find(tmp_path, "200") / "manifest.json")
    with pytest.raises(BadInput, match=f"newer than this program's {FORMAT}"):
        resume.read(tmp_path)


def test_replay_needs_neither_of_the_state_files(tmp_path):
    path = find(saved(tmp_path, 100))
    for name in ("state.json", "state.safetensors"):
        (path / name).unlink()
    assert same(checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path)), WEIGHTS)


# Finding


@pytest.mark.parametrize(
    ("path", "which", "step"),
    [
        ("run", "latest", 300),
        ("run", "best", 200),
        ("run", "100", 100),
        ("run", "000000100", 100),
        ("run/checkpoints", "best", 200),
        ("run/checkpoints/000000100", "best", 100),  # its own folder says which
    ],
)
def test_a_checkpoint_is_found_by_run_and_name_or_by_its_own_folder(here, path, which, step):
    saved(here / "run", 100, 200, 300, best=[100, 200])
    found = find(here / path, which)
    assert found == here / "run/checkpoints" / f"{step:09d}"
    assert checkpoint_reader.read_manifest(found).step == step


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"step": 150}'])
def test_best_is_the_latest_where_none_is_known(tmp_path, content):
    saved(tmp_path, 100, 200)
    if content is not None:
        (tmp_path / "checkpoints/best.json").write_bytes(content)
    assert find(tmp_path, "best").name == "000000200"


def test_the_best_may_be_that_of_step_0(tmp_path):
    assert find(saved(tmp_path, 0, 100, best=[0]), "best").name == "000000000"


@pytest.mark.parametrize("which", ["150", "last", "-100", "²", ""])
def test_a_step_that_is_not_there_is_answered_with_those_that_are(tmp_path, which):
    with pytest.raises(BadInput) as caught:
        find(saved(tmp_path, 100, 200), which)
    assert caught.value.what == f"no checkpoint {which}"
    assert caught.value.where == str(tmp_path)
    assert caught.value.fix == "best, latest, or one of: 100, 200"


def test_a_missing_folder_is_answered_with_what_lies_there_instead(tmp_path):
    for name in ("run_a", "run_b", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BadInput, match="no such folder") as caught:
        find(tmp_path / "run_c" / "checkpoints")
    assert caught.value.where == str(tmp_path / "run_c/checkpoints")
    assert caught.value.fix == f"{tmp_path} contains: run_a, run_b"


@pytest.mark.parametrize(
    ("names", "told"),
    [([], "contains: nothing"), (["status.json", "config.yaml"], "config.yaml, status.json")],
)
def test_a_folder_without_checkpoints_is_answered_with_what_it_holds(tmp_path, names, told):
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(BadInput, match="no checkpoint here") as caught:
        find(tmp_path)
    assert told in caught.value.fix


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(BadInput, match="no checkpoint here") as caught:
        find(tmp_path / "model.pt")
    assert "a file" in caught.value.fix
