"""B5: files of a run folder with changed content: resume continues or refuses in a few lines.

Contents are changed by bytes, by tokens (numbers, words, brackets) and by whole values, and the checksums are made
right again, so that the reader of the content sees them. Each folder is resumed in this process.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil

import pytest

from rl_cli.cli import train as rl_train
from rl_cli.storage.manifest import MANIFEST, seal
from tests.bars.results import report
from tests.conftest import FULL

FILES = {  # file -> cases in the short form
    "state.json": 6,
    "manifest.json": 3,
    "metrics.csv": 3,
    "eval.csv": 2,
    "config.yaml": 4,
    "status.json": 2,
    "provenance.json": 2,
    "best.json": 2,
}
LONG = 250
"""Cases of each file in the long form."""

SMALL = [
    *("algo=dqn", "env=cartpole", "hparams=none", "total_timesteps=120", "checkpoint.every=60"),
    *("algo.learning_starts=40", "algo.batch_size=8", "algo.buffer_size=100", "compile=false"),
    *("eval.every=60", "eval.episodes=1", "log.every=30", "log.tensorboard=false"),
    *("video.episodes=0", "quiet=true", "run_dir=run"),
]
WORDS = [
    *("-1", "0", "1e30", "-1e308", "NaN", "Infinity", "1e999", "9" * 400, "null", "true", "[]", "{}"),
    *('"text"', '"\\ud800"', "0.5", str(2**63), '"\\u001b[2J"', "[" * 2_000, '{"a": 1}'),
]  # fmt: skip
BYTES = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b";",
    b'"',
    b"\r",
    b"\n",
    b"&a [*a]",
    b"!!x",
    b"\x1b",
    b"0" * 70_000,
]


def changed(data: bytes, rng: random.Random) -> bytes:
    """The content with one to three changes."""
    for _ in range(rng.choice([1, 1, 1, 3])):
        tokens = list(re.finditer(rb'-?[0-9][0-9.e+-]*|"[^"]*"|true|false|null|\w+', data))
        how = rng.choice(["word", "word", "word", "bytes", "cut", "repeat"])
        if how == "word" and tokens:
            token = rng.choice(tokens)
            data = data[: token.start()] + rng.choice(WORDS).encode() + data[token.end() :]
            continue
        at = rng.randrange(len(data) + 1)
        end = min(at + rng.randrange(1, 40), len(data))
        data = {
            "bytes": data[:at] + rng.choice(BYTES) + data[at:],
            "cut": data[:at] + data[end:],
            "repeat": data[:end] + data[at:],
            "word": data + b"x",
        }[how]
    return data


def write_forged(run, name, rng):
    """Change a file of the run; checksums and the manifest's seal fit the new content."""
    steps = sorted(p for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    for other in steps[:-1]:
        shutil.rmtree(other)
    last = steps[-1]
    path = next(run.rglob(name)) if name in ("state.json", "best.json") else run / name
    fields = json.loads((last / MANIFEST).read_text())
    del fields["sha256"]
    if name == MANIFEST:
        text = changed(json.dumps(fields).encode(), rng).rstrip().removesuffix(b"}")
        seal_of = hashlib.sha256(text).hexdigest()
        (last / MANIFEST).write_bytes(text + f',\n  "sha256": "{seal_of}"\n}}\n'.encode())
        return
    path.write_bytes(changed(path.read_bytes(), rng))
    if name == "state.json":
        data = path.read_bytes()
        fields["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (last / MANIFEST).write_bytes(seal(fields))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    here = tmp_path_factory.mktemp("fuzzed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert rl_train.run(SMALL) == 0
    return here / "run"


@pytest.mark.parametrize("name", FILES)
def test_changed_file_is_refused_or_the_run_continues(here, original, capfd, name):
    count = LONG if FULL else FILES[name]
    codes = []
    for i in range(count):
        rng = random.Random(f"{name} {i}")
        shutil.rmtree(here / "run", ignore_errors=True)
        shutil.copytree(original, here / "run")
        write_forged(here / "run", name, rng)
        capfd.readouterr()
        try:
            code = rl_train.run(["resume=run", "total_timesteps=130", "quiet=true"])
        except BaseException as error:
            pytest.fail(f"case {i}: {type(error).__name__}: {error}")
        out, err = capfd.readouterr()
        assert code in (0, 2, 3), f"case {i}: {err}"
        assert "Traceback" not in err, f"case {i}: {err}"
        assert len(err.splitlines()) <= 12, f"case {i}: {err}"
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", out + err), f"case {i}: {err!r}"
        codes.append(code)
    report(5, len(codes), count, f"{name}: {codes.count(0)} continued, {codes.count(2)} refused")
