"""B4: every damaged checkpoint is detected, and the message names an intact one to use."""

from __future__ import annotations

import json
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
from tests.bars.results import report
from tests.conftest import FULL

FLIPS, CUTS, STRUCTURAL = (1_000, 300, 50) if FULL else (100, 50, 15)
GOLDEN = Path(__file__).resolve().parents[1] / "golden/format_2"
LAST = "checkpoints/000004000"


@pytest.fixture
def run(tmp_path):
    """A run with intact checkpoints at steps 2000 and 4000."""
    return Path(shutil.copytree(GOLDEN / "dqn", tmp_path / "run"))


def read_weights(path):
    return checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))


def assert_refused(run, name, original):
    """Resume and evaluation both detect that file `name` of the last checkpoint is damaged."""
    found, broken = resume.read(run)
    assert found.manifest.step == 2000, name
    ((path, why),) = broken
    assert path == run / LAST
    assert name in why
    if name in (MANIFEST, POLICY):
        with pytest.raises(BadInput) as caught:
            read_weights(run / LAST)
        assert caught.value.exit_code == 2
        assert caught.value.where == str(run / LAST / name)
        assert caught.value.fix == "use the intact checkpoint of step 2000: checkpoint=2000"
    else:  # evaluation does not read the training state
        same = read_weights(run / LAST)
        assert all(np.array_equal(same[k], original[k]) for k in original)


def test_flipped_bits_are_detected(run):
    rng, original = np.random.default_rng(4), read_weights(run / LAST)
    files = sorted((run / LAST).iterdir())
    for i in range(FLIPS):
        path = files[i % len(files)]
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        assert_refused(run, path.name, original)
        path.write_bytes(data)
    assert resume.read(run)[0].manifest.step == 4000
    report(4, FLIPS, FLIPS, "flipped bits refused")


def test_flipped_bits_of_the_manifest_are_detected(run):
    """Every bit in the long form, including the seal, the checksums and white space."""
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
    report(4, len(places), len(places), "flipped bits of a manifest refused")


def test_truncated_files_are_detected(run):
    rng, original = np.random.default_rng(5), read_weights(run / LAST)
    files = sorted((run / LAST).iterdir())
    for i in range(CUTS):
        path = files[i % len(files)]
        data = path.read_bytes()
        path.write_bytes(data[: rng.integers(len(data))])
        assert_refused(run, path.name, original)
        path.write_bytes(data)
    report(4, CUTS, CUTS, "truncations refused")


# Structural damage: kinds that apply to each file, and kinds that apply to the folder


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def folder_for_file(path):
    path.unlink()
    path.mkdir()


def extended(path):
    path.write_bytes(path.read_bytes() + b"\0")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def link(path):
    shutil.move(path, path.parents[3] / path.name)
    path.symlink_to(path.parents[3] / path.name)


def from_previous_step(path):
    older = next((path.parents[1] / "000002000").glob(path.name[:14] + "*"))
    shutil.copy(older, path)


def from_another_run(path):
    other = GOLDEN / "ppo" / LAST / path.name
    shutil.copy(other if other.exists() else GOLDEN / "ppo" / LAST / POLICY, path)


def exchanged(path):
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
    *(missing, from_another_run, folder_for_file, exchanged, empty, extended, zeros, link),
    from_previous_step,
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


def damages_to_test():
    """All in the long form, otherwise each kind once."""
    if FULL:
        return DAMAGE
    some = [(damage, FILES[i % len(FILES)]) for i, damage in enumerate(OF_A_FILE)]
    return [*some, *OF_THE_FOLDER[: STRUCTURAL - len(some)]]


def test_structural_damage_is_detected(run, tmp_path):
    for damage, name in damages_to_test():
        shutil.rmtree(run)
        shutil.copytree(GOLDEN / "dqn", run)
        damage(run / LAST / name if name in FILES else run / LAST / MANIFEST)
        found, broken = resume.read(run)
        assert found.manifest.step == 2000, (damage, name)
        reason = broken[0][1]
        assert len(broken) == 1
        named = [name] if damage not in (exchanged, from_another_run) else FILES
        assert any(name in reason for name in named), reason
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()
    assert len(damages_to_test()) >= STRUCTURAL
    report(4, len(damages_to_test()), len(damages_to_test()), "damaged folders refused")


def test_newer_format_is_refused_rather_than_skipped(run):
    resealed(format=FORMAT + 1)(run / LAST / MANIFEST)
    with pytest.raises(BadInput, match=f"format {FORMAT + 1} is newer"):
        resume.read(run)


def test_resume_refuses_a_checkpoint_from_another_run(run, here, capsys):
    shutil.rmtree(run / LAST)
    other = GOLDEN / "reinforce" / LAST
    shutil.copytree(other, run / LAST)
    assert rl_train.run([f"resume={run}", "total_timesteps=4010", "quiet=true"]) == 2
    assert "checkpoint 4000 is of another run" in capsys.readouterr().err


def test_commands_name_and_use_the_last_intact_checkpoint(run, here, capsys):
    """rl-eval names the intact checkpoint; rl-train resumes from it."""
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


def test_hidden_files_in_a_checkpoint_are_ignored(run):
    (run / LAST / ".DS_Store").write_bytes(b"x")
    found, broken = resume.read(run)
    assert (found.manifest.step, broken) == (4000, [])


def test_resume_without_an_intact_checkpoint_is_refused(run, here, capsys):
    for path in (run / "checkpoints").glob("0*"):
        empty(path / POLICY)
    assert rl_train.run([f"resume={run}", "quiet=true"]) == 2
    assert "this run has no other intact checkpoint" in capsys.readouterr().err
    assert sorted(p.name for p in (run / "checkpoints").glob("0*")) == ["000002000", "000004000"]
