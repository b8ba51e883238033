"""B19: checkpoints of every format so far load, evaluate to the returns recorded with them, and resume."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import safetensors.numpy

from rl_cli import algos
from rl_cli.buffers import frame_stack
from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.manifest import FORMAT, seal
from tests.bars.results import report

REPO = Path(__file__).resolve().parents[2]
GOLDEN = REPO / "tests/golden"
PIXEL_BLOCKS = sorted(path.parent for path in GOLDEN.glob("format_*/*/piece.safetensors"))
RUNS = sorted(path.parent for path in GOLDEN.glob("format_*/*/config.yaml"))


@pytest.mark.parametrize("run", RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_golden_run_evaluates_and_resumes(here, capsys, run):
    shutil.copytree(run, here / "run")
    written = int(run.parent.name.removeprefix("format_"))
    assert checkpoint_reader.read_manifest(checkpoint_reader.find(here / "run")).format == written

    expected = json.loads((run / "expected.json").read_text())
    args = ["checkpoint=latest", f"seed={expected['seed']}", "episodes=5", "output=out"]
    assert rl_eval.run(["run", *args]) == 0
    found = json.loads((here / "out/evaluation.json").read_text())["episodes"]
    assert [episode["return"] for episode in found] == expected["returns"]

    assert rl_train.run(["resume=run", "total_timesteps=4050", "quiet=true"]) == 0
    status = json.loads((here / "run/status.json").read_text())
    assert (status["state"], status["step"]) == ("completed", 4050)
    assert status["resumed"][-1]["exact"] is True
    resumed = checkpoint_reader.read_manifest(checkpoint_reader.find(here / "run"))
    assert (resumed.step, resumed.format) == (4050, FORMAT)
    capsys.readouterr()
    report(19, 1, 1, f"{run.parent.name} {run.name}")


@pytest.mark.parametrize("folder", PIXEL_BLOCKS, ids=lambda path: path.parent.name)
def test_golden_block_of_pixels_unpacks_bit_for_bit(capsys, folder):
    rows = frame_stack.unpack(safetensors.numpy.load_file(folder / "piece.safetensors"))
    sums = {name: hashlib.sha256(column.tobytes()).hexdigest() for name, column in rows.items()}
    assert sums == json.loads((folder / "expected.json").read_text())
    report(19, 1, 1, f"{folder.parent.name} pixels")


def test_each_format_has_a_golden_run_of_each_algorithm():
    made = {(path.parent.name, path.name) for path in RUNS}
    assert PIXEL_BLOCKS
    assert made >= {(f"format_{f}", a) for f in range(1, FORMAT + 1) for a in algos.names()}


def test_newer_format_is_refused_by_its_number(here, capsys):
    shutil.copytree(GOLDEN / f"format_{FORMAT}" / "dqn", here / "run")
    path = checkpoint_reader.find(here / "run") / "manifest.json"
    fields = json.loads(path.read_text()) | {"format": FORMAT + 1, "something": "new"}
    del fields["sha256"]
    path.write_bytes(seal(fields))
    for run, args in ((rl_eval.run, ["run", "checkpoint=latest"]), (rl_train.run, ["resume=run"])):
        assert run([*args]) == 2
        err = capsys.readouterr().err
        assert f"checkpoint format {FORMAT + 1} is newer than this program's {FORMAT}" in err
        assert "manifest.json" in err
        assert "upgrade rl-cli" in err
