"""Standard output and error: writing to them never raises, never waits for long, and controls no terminal."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import subprocess
import sys
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_cli.core import terminal
from rl_cli.core.terminal import GuardedStream
from tests.test_layers import name_of, sources


@contextlib.contextmanager
def pipe(reader_open=True):
    """A guarded stream into a pipe, and the descriptor of its reader."""
    reader, writer = os.pipe()
    if not reader_open:
        os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as file:
        yield GuardedStream(file), reader
    if reader_open:
        os.close(reader)


def test_lines_are_written_when_they_are_complete():
    with pipe() as (stream, reader):
        stream.write("a")
        stream.write("b\nc")
        assert os.read(reader, 100) == b"ab\nc"
        stream.write("d")
        stream.flush()
        assert os.read(reader, 100) == b"d"


def test_reader_that_is_gone_ends_the_output_without_an_error():
    with pipe(reader_open=False) as (stream, _):
        for _ in range(3):
            assert stream.write("line\n") == 5
            stream.flush()
        assert stream.gone
        assert not stream.isatty()


def test_full_disk_drops_a_line_and_the_next_one_is_tried(tmp_path):
    with open("/dev/full", "w") as full, (tmp_path / "log").open("w") as file:
        stream = GuardedStream(full)
        stream.write("lost\n")
        assert not stream.gone
        os.dup2(file.fileno(), full.fileno())  # there is space again
        stream.write("kept\n")
    assert (tmp_path / "log").read_text() == "kept\n"


def test_missing_and_closed_streams_swallow_text():
    closed = io.StringIO()
    closed.close()
    for stream in (GuardedStream(None), GuardedStream(closed)):
        stream.write("x\n")
        stream.flush()
        assert not stream.isatty()
    with pipe() as (stream, _):
        os.close(stream.fd)
        stream.write("x\n")  # EBADF
        assert stream.gone
        os.open(os.devnull, os.O_WRONLY)  # the number again, for the file object to close


def test_reader_that_does_not_read_is_waited_for_once():
    with pipe() as (stream, reader):
        os.set_blocking(reader, False)
        started = time.monotonic()
        stream.put("x" * 200_000, 0.2)  # more than the pipe takes
        stream.put("dropped\n", 60.0)
        assert time.monotonic() - started < 10
        while True:
            with contextlib.suppress(BlockingIOError):
                assert b"dropped" not in os.read(reader, 1 << 20)
                continue
            break
        stream.put("written\n", 0.2)
        assert os.read(reader, 100) == b"written\n"


SIGNS = "a · 2×3 ±1 → ▁█ ─│┌ é 日"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", r"a - 2x3 +/-1 -> _# -|+ \xe9 \u65e5"),
        ("latin-1", r"a · 2×3 ±1 -> _# -|+ é \u65e5"),
        ("utf-8", SIGNS),
    ],
)
def test_encodings_without_a_sign_get_a_plain_one(monkeypatch, encoding, expected):
    for guarded in (True, False):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        monkeypatch.setattr(sys, "stdout", GuardedStream(stream) if guarded else stream)
        terminal.say(SIGNS)
        assert raw.getvalue().decode(encoding) == expected + "\n"


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(st.characters(categories=["L", "Cc", "Cf", "Cs", "Co", "Zl", "Zp", "So"])))
def test_printed_text_is_one_line_without_control_characters(text):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        terminal.say(text)
    line = out.getvalue()
    assert line.endswith("\n")
    assert all(unicodedata.category(c)[0] not in "C" for c in line[:-1])
    assert line.count("\n") == 1


CHILD = """
import sys
from rl_cli.core import terminal
terminal.protect()
print("x" * 100_000); sys.stderr.write("no line end"); print("no line end", end="")
terminal.urgent("stopping ·"); terminal.say("a"); terminal.warn("b")
try: raise ValueError("\\x1b[2J")
except ValueError: terminal.warn_traceback()
descriptor = open(sys.argv[1], "w").fileno()
sys.exit(3 if descriptor > 2 else 4)
"""

CLOSES = """
import os, sys
from rl_cli.core import terminal
terminal.protect()
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
os.close(2)
file = open(sys.argv[1], "w")
assert file.fileno() == 2
terminal.say("out"); print("printed"); terminal.warn("err"); terminal.urgent("stopping")
terminal.to_file(sys.argv[2])
terminal.say("log"); terminal.urgent("logged")
"""


def test_descriptors_that_an_env_closes_or_redirects_get_and_give_nothing(tmp_path):
    words = [sys.executable, "-c", CLOSES, str(tmp_path / "file"), str(tmp_path / "log")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("out\nprinted\n", "err\nstopping\n")
    assert (tmp_path / "file").read_text() == ""
    assert (tmp_path / "log").read_text() == "log\nlogged\n"


@pytest.mark.parametrize(
    "redirect", [">/dev/full 2>/dev/full", "<&- >&- 2>&-", "2>&1 | true", "2>&1 | cat"]
)
def test_exit_code_is_kept_whatever_the_output_is(tmp_path, redirect):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    line = f'set -o pipefail; "$0" "{script}" "{tmp_path}/run_file" {redirect}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert not done.stderr
    assert ("stopping -" in done.stdout) == ("cat" in redirect)
    assert "\x1b" not in done.stdout
    assert (tmp_path / "run_file").read_text() == ""  # its descriptor is none of 0 to 2


WRITES = {
    "print": set(),
    "input": set(),
    "os.write": {"storage/atomic_files.py"},  # files of a run
    "Console": {"tracking/display.py"},
    "traceback.print_exc": set(),
    "warnings.warn": set(),
    "sys.stdout.write": set(),
    "sys.stderr.write": set(),
}
"""Functions that print -> the files besides core/terminal.py that may call them."""


def test_package_prints_through_the_terminal_module_alone():
    found = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in WRITES:
                found.add((name_of(path), called))
    allowed = {("core/terminal.py", "os.write")}
    allowed |= {(name, called) for called, names in WRITES.items() for name in names}
    assert found <= allowed, sorted(found - allowed)
    assert ("core/terminal.py", "os.write") in found  # the search finds calls
