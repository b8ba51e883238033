"""B4: no damaged checkpoint is taken for a whole one, and what is told helps."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.manifest import FORMAT, MANIFEST, POLICY, seal
from rl_cli.training import resume

FULL = os.environ.get("RL_CLI_BARS") == "full"
FLIPS, CUTS, STRUCTURAL = (1_000, 300, 50) if FULL else (100, 50, 15)
GOLDEN = Path(__file__).resolve().parents[1] / "golden/format_2"
LAST = "checkpoints/000004000"


@pytest.fixture
def run(tmp_path):
    """A run with whole checkpoints at 2000 and 4000 steps."""
    return Path(shutil.copytree(GOLDEN / "dqn", tmp_path / "run"))


def weights(path):
    return checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))


def refuse(run, name, original):
    """Both readers meet a last checkpoint whose file `name` is damaged."""
    found, broken = resume.read(run)
    assert found.manifest.step == 2000, name
    ((path, why),) = broken
    assert path == run / LAST
    assert name in why
    if name in (MANIFEST, POLICY):
        with pytest.raises(BadInput) as caught:
            weights(run / LAST)
        assert caught.value.exit_code == 2
        assert caught.value.where == str(run / LAST / name)
        assert caught.value.fix == "use the intact checkpoint of step 2000: checkpoint=2000"
    else:  # not read for replay, which gets the weights and nothing else
        same = weights(run / LAST)
        assert all(np.array_equal(same[k], original[k]) for k in original)


def test_a_flipped_bit_is_never_accepted(run):
    rng, original = np.random.default_rng(4), weights(run / LAST)
    files = sorted((run / LAST).iterdir())
    for i in range(FLIPS):
        path = files[i % len(files)]
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        refuse(run, path.name, original)
        path.write_bytes(data)
    assert resume.read(run)[0].manifest.step == 4000
    print(f"B4 got/needed: {FLIPS}/{FLIPS} flipped bits refused")


def test_every_bit_of_a_manifest_counts(run):
    """All of them in the long form; the seal, the sums and the white space as well."""
    path = run / LAST / MANIFEST
    data = path.read_bytes()
    places = range(0, 8 * len(data), 1 if FULL else 37)
    for place in places:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(BadInput) as caught:
            checkpoint_reader.read_manifest(run / LAST)
        assert caught.value.where == str(path)
    print(f"B4 got/needed: {len(places)}/{len(places)} flipped bits of a manifest refused")


def test_a_cut_file_is_never_accepted(run):
    rng, original = np.random.default_rng(5), weights(run / LAST)
    files = sorted((run / LAST).iterdir())
    for i in range(CUTS):
        path = files[i % len(files)]
        data = path.read_bytes()
        path.write_bytes(data[: rng.integers(len(data))])
        refuse(run, path.name, original)
        path.write_bytes(data)
    print(f"B4 got/needed: {CUTS}/{CUTS} truncations refused")


# Structural damage: of each file, and of the folder


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def folder_for_file(path):
    path.unlink()
    path.mkdir()


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def link(path):
    shutil.move(path, path.parents[3] / path.name)
    path.symlink_to(path.parents[3] / path.name)


def of_the_step_before(path):
    older = next((path.parents[1] / "000002000").glob(path.name[:14] + "*"))
    shutil.copy(older, path)


def of_another_run(path):
    other = GOLDEN / "ppo" / LAST / path.name
    shutil.copy(other if other.exists() else GOLDEN / "ppo" / LAST / POLICY, path)


def swapped(path):
    others = sorted(path.parent.iterdir())
    other = others[others.index(path) - 1]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs), other.write_bytes(mine)


def text(content):
    def write(path):
        (path.parent / MANIFEST).write_bytes(content)

    return write


def fields(path):
    read = json.loads((path.parent / MANIFEST).read_text())
    del read["sha256"]
    return read


def edited(old, new):
    def edit(path):
        manifest = path.parent / MANIFEST
        assert old in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(old, new, 1))

    return edit


def resealed(**changes):
    return lambda path: (path.parent / MANIFEST).write_bytes(seal(fields(path) | changes))


def unlisted_file(path):
    (path.parent / "policy.pkl").write_bytes(b"")


def unlisted_folder(path):
    (path.parent / "more").mkdir()


OF_A_FILE = [
    *(missing, of_another_run, folder_for_file, swapped, empty, longer, zeros, link),
    of_the_step_before,
]
OF_THE_FOLDER = [
    (unlisted_file, "policy.pkl"),
    (text(b"{"), MANIFEST),
    (edited('"seed": 5', '"seed": 6'), MANIFEST),
    (edited('"learning_rate": 0.005', '"learning_rate": 0.003'), MANIFEST),
    (unlisted_folder, "more"),
    (text(b"[]"), MANIFEST),
    (text(b"\xff\xfe"), MANIFEST),
    (text(b"null"), MANIFEST),
    (resealed(step=2000), MANIFEST),
    (resealed(files={}), MANIFEST),
    (resealed(format=0), MANIFEST),
]
FILES = sorted(path.name for path in (GOLDEN / "dqn" / LAST).iterdir())
DAMAGE = [
    *((damage, name) for damage in OF_A_FILE for name in FILES),
    *OF_THE_FOLDER,
]


def chosen():
    """All of them, or some of each kind."""
    if FULL:
        return DAMAGE
    some = [(damage, FILES[i % len(FILES)]) for i, damage in enumerate(OF_A_FILE)]
    return [*some, *OF_THE_FOLDER[: STRUCTURAL - len(some)]]


def test_structural_damage_is_never_accepted(run, tmp_path):
    for damage, name in chosen():
        shutil.rmtree(run)
        shutil.copytree(GOLDEN / "dqn", run)
        damage(run / LAST / name if name in FILES else run / LAST / MANIFEST)
        found, broken = resume.read(run)
        assert found.manifest.step == 2000, (damage, name)
        told = broken[0][1]
        assert len(broken) == 1
        named = [name] if damage not in (swapped, of_another_run) else FILES
        assert any(name in told for name in named), told
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()
    assert len(chosen()) >= STRUCTURAL
    print(f"B4 got/needed: {len(chosen())}/{len(chosen())} damaged folders refused")


def test_a_later_version_is_neither_accepted_nor_passed_over(run):
    resealed(format=FORMAT + 1)(run / LAST / MANIFEST)
    with pytest.raises(BadInput, match=f"format {FORMAT + 1} is newer"):
        resume.read(run)


def test_a_whole_checkpoint_of_another_run_is_not_gone_on_from(run, here, capsys):
    shutil.rmtree(run / LAST)
    other = GOLDEN / "reinforce" / LAST
    shutil.copytree(other, run / LAST)
    assert rl_train.run([f"resume={run}", "total_timesteps=4010", "quiet=true"]) == 2
    assert "checkpoint 4000 is of another run" in capsys.readouterr().err


def test_what_is_told_and_what_is_gone_on_with(run, here, capsys):
    """The commands themselves: rl-eval says which checkpoint to take, resume takes it."""
    zeros(run / LAST / POLICY)
    assert rl_eval.run([str(run), "checkpoint=latest", "episodes=1"]) == 2
    err = capsys.readouterr().err
    assert err.splitlines() == [
        err.splitlines()[0],
        f"  where: {run / LAST / POLICY}",
        "  do: use the intact checkpoint of step 2000: checkpoint=2000",
    ]
    assert err.startswith("error: broken checkpoint: SHA-256 ")
    assert rl_eval.run([str(run), "checkpoint=2000", "episodes=1"]) == 0
    capsys.readouterr()
    assert rl_train.run([f"resume={run}", "total_timesteps=2050", "quiet=true"]) == 0
    assert "broken_000004000: policy.safetensors: " in capsys.readouterr().err
    assert (run / "checkpoints/broken_000004000").is_dir()
    assert resume.read(run)[0].manifest.step == 2050


def test_hidden_files_of_the_system_do_no_harm(run):
    (run / LAST / ".DS_Store").write_bytes(b"x")
    found, broken = resume.read(run)
    assert (found.manifest.step, broken) == (4000, [])


def test_going_on_needs_one_whole_checkpoint(run, here, capsys):
    for path in (run / "checkpoints").glob("0*"):
        empty(path / POLICY)
    assert rl_train.run([f"resume={run}", "quiet=true"]) == 2
    assert "this run has no other intact checkpoint" in capsys.readouterr().err
    assert sorted(p.name for p in (run / "checkpoints").glob("0*")) == ["000002000", "000004000"]
