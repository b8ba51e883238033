"""Damaged checkpoints are refused by the name of the file; checkpoints are found by step or name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from rl_cli.core.errors import BadInput
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.checkpoint_reader import find
from rl_cli.storage.manifest import FORMAT, seal
from rl_cli.training import resume
from tests.storage.checkpoints import (
    STATE,
    WEIGHTS,
    read,
    same,
    saved,
    store,
)


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
    """The fields of a manifest, without its seal."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}


def edited(**changes):
    def edit(path):
        path.write_bytes(seal(fields_of(path) | changes))

    return edit


def unsealed(**changes):
    return lambda path: path.write_text(json.dumps(fields_of(path) | changes))


def remove_a_key(path):
    manifest = fields_of(path)
    del manifest["env"]
    path.write_bytes(seal(manifest))


def remove_the_policy(path):
    manifest = fields_of(path)
    del manifest["files"]["policy.safetensors"]
    path.write_bytes(seal(manifest))


def another_seed(path):
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))


def add_a_file(path):
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
    ("manifest.json", unsealed(), "the sha256 at its end is missing"),
    ("manifest.json", edited(extra=1), "unknown key extra"),
    ("manifest.json", edited(step="100"), "step"),
    ("manifest.json", edited(step=100), "its step is 100"),
    ("manifest.json", edited(files={"policy.safetensors": {"sha256": "0"}}), "bytes"),
    ("manifest.json", edited(files={"../x": {"sha256": "0", "bytes": 1}}), "not a file name"),
    ("manifest.json", remove_a_key, "env has no value"),
    ("manifest.json", remove_the_policy, "does not list policy.safetensors"),
    ("policy.pkl", add_a_file, "does not list it"),
]


@pytest.mark.parametrize(
    ("name", "break_it", "why"), BREAKS, ids=[f"{n}-{b.__name__}-{w}" for n, b, w in BREAKS]
)
def test_broken_checkpoint_is_refused_and_the_error_names_the_file(tmp_path, name, break_it, why):
    path = find(saved(tmp_path, 100, 200), "200")
    read(path)
    break_it(path / name)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert why in caught.value.what
    assert "\n" not in caught.value.what
    assert caught.value.where == str(path / name)
    assert caught.value.exit_code == 2
    newer = "newer" in why  # the other checkpoints of that run have the same format
    assert caught.value.fix == (
        "upgrade rl-cli" if newer else "use the intact checkpoint of step 100: checkpoint=100"
    )
    assert str(path / name).endswith(str(checkpoint_reader.why_broken(path)).split(":")[0]) or newer
    assert checkpoint_reader.why_broken(find(tmp_path, "100")) is None


def test_file_without_arrays_is_refused_although_its_hash_matches(tmp_path):
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
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    weights = WEIGHTS | {"actor.0.bias": np.array([0, value], np.float32)}
    path = store(tmp_path).save(100, weights, STATE, None, best=False)
    with pytest.raises(BadInput, match=r"actor\.0\.bias is not finite") as caught:
        checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))
    assert caught.value.where == str(path / "policy.safetensors")


def test_resume_skips_broken_checkpoints_and_returns_the_reasons(tmp_path):
    saved(tmp_path, 100, 200, 300, 400)
    flip_a_bit(find(tmp_path, "400") / "state.json")
    remove(find(tmp_path, "300") / "manifest.json")
    found, passed_over = resume.read(tmp_path)
    assert found.manifest.step == 200
    assert [path.name for path, _ in passed_over] == ["000000400", "000000300"]
    assert passed_over[0][1].startswith("state.json: broken checkpoint: SHA-256")
    assert "manifest.json: broken checkpoint: No such file" in passed_over[1][1]


def test_resume_does_not_fall_back_from_a_checkpoint_of_a_later_version(tmp_path):
    saved(tmp_path, 100, 200)
    edited(format=FORMAT + 1)(find(tmp_path, "200") / "manifest.json")
    with pytest.raises(BadInput, match=f"newer than this program's {FORMAT}"):
        resume.read(tmp_path)


def test_policy_is_read_without_the_state_files(tmp_path):
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
        ("run/checkpoints/000000100", "100", 100),
        ("run/checkpoints/000000100", "best", 100),  # a checkpoint's folder, so best is unused
    ],
)
def test_find_accepts_a_run_folder_with_a_name_or_a_checkpoint_folder(here, path, which, step):
    saved(here / "run", 100, 200, 300, best=[100, 200])
    found = find(here / path, which)
    assert found == here / "run/checkpoints" / f"{step:09d}"
    assert checkpoint_reader.read_manifest(found).step == step


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"step": 150}'])
def test_find_best_returns_the_latest_without_a_readable_best_file(tmp_path, content):
    saved(tmp_path, 100, 200)
    if content is not None:
        (tmp_path / "checkpoints/best.json").write_bytes(content)
    assert find(tmp_path, "best").name == "000000200"


def test_find_best_accepts_step_0(tmp_path):
    assert find(saved(tmp_path, 0, 100, best=[0]), "best").name == "000000000"


@pytest.mark.parametrize("which", ["150", "last", "-100", "²", ""])
def test_error_of_a_missing_step_lists_the_existing_ones(tmp_path, which):
    with pytest.raises(BadInput) as caught:
        find(saved(tmp_path, 100, 200), which)
    assert caught.value.what == f"no checkpoint {which}"
    assert caught.value.where == str(tmp_path)
    assert caught.value.fix == "best, latest, or one of: 100, 200"


def test_error_of_a_missing_folder_lists_the_existing_ones(tmp_path):
    for name in ("run_a", "run_b", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BadInput, match="no such folder") as caught:
        find(tmp_path / "run_c" / "checkpoints")
    assert caught.value.where == str(tmp_path / "run_c/checkpoints")
    assert caught.value.fix == f"{tmp_path} contains: run_a, run_b"


@pytest.mark.parametrize(
    ("names", "content"),
    [([], "contains: nothing"), (["status.json", "config.yaml"], "config.yaml, status.json")],
)
def test_error_of_a_folder_without_checkpoints_lists_its_content(tmp_path, names, content):
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(BadInput, match="no checkpoint here") as caught:
        find(tmp_path)
    assert content in caught.value.fix


def test_find_refuses_a_file(tmp_path):
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(BadInput, match="no checkpoint here") as caught:
        find(tmp_path / "model.pt")
    assert "a file" in caught.value.fix


def test_run_may_be_named_checkpoints_and_searched_from_inside(tmp_path, monkeypatch):
    run = saved(tmp_path / "checkpoints", 100)
    assert find(run).name == "000000100"
    monkeypatch.chdir(run / "checkpoints")
    assert find(Path()).name == "000000100"


def test_step_that_is_not_that_of_the_checkpoint_is_refused(tmp_path):
    run = saved(tmp_path / "run", 100, 200)
    with pytest.raises(BadInput, match="this is the checkpoint of step 100, not 200"):
        find(run / "checkpoints" / "000000100", "200")
