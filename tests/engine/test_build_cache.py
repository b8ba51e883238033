"""The folder of compiled libraries: whom it trusts, what it deletes, who builds."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rl_cli.engine import build_cache, inductor
from rl_cli.engine import compiler as compiler_module
from tests.engine.test_compiler import needs_compiler


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return build_cache.cache_folder()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }")
    return path


def test_cache_folder_is_private(cache, tmp_path):
    assert cache == tmp_path / "rl-cli"
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("value", ["", "relative/cache"])
def test_relative_cache_home_is_ignored(value, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert build_cache.cache_folder() == tmp_path / ".cache" / "rl-cli"
    assert not (tmp_path / "relative").exists()


def the_library(cache):
    (path,) = cache.glob("*.so")
    return path


def damage(path, kind):
    """Damage a library of 15 kB, as a power cut, a bad disk or a full one may."""
    whole = path.read_bytes()
    path.unlink()
    if kind == "link":
        (path.parent / "elsewhere").write_bytes(whole)
        path.symlink_to("elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "mode":
        path.write_bytes(whole)
        path.chmod(0o666)
    elif kind == "bit":
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    else:
        path.write_bytes(whole[:kind] if isinstance(kind, int) else whole + b"more")


@needs_compiler
@pytest.mark.parametrize("kind", [0, 64, 8192, -1, "more", "bit", "link", "pipe", "mode"])
def test_damaged_library_is_built_anew(kind, cache, source):
    build_cache.load(source)
    path = the_library(cache)
    content = build_cache.read(path)
    damage(path, kind)
    assert build_cache.loaded(path) is None
    assert build_cache.load(source).answer() == 42
    assert build_cache.read(path) == content  # the compiler gives the same bytes again
    assert path.stat().st_mode & 0o777 == 0o600


@needs_compiler
def test_library_in_use_survives_the_truncation_of_its_file(cache, tmp_path):
    """Its pages are read when they are first used; those of a truncated file kill the process."""
    source = tmp_path / "table.c"
    source.write_text("static int t[40000] = {[39999] = 7}; int at(int i) { return t[i]; }")
    library = build_cache.load(source)
    os.truncate(the_library(cache), 0)
    assert library.at(39_999) == 7


@needs_compiler
def test_libraries_of_one_process_are_distinct(cache, tmp_path):
    """The loader would take a second library of the same name for the first."""
    answers = []
    for i in range(3):
        source = tmp_path / f"number{i}.c"
        source.write_text(f"int answer(void) {{ return {i}; }}")
        answers.append((i, build_cache.load(source)))
    assert [library.answer() for _, library in answers] == [0, 1, 2]
    assert build_cache.load(tmp_path / "number0.c") is answers[0][1]
    assert answers[0][1].compiler.startswith(("GCC: (", "clang version "))


@needs_compiler
def test_link_in_place_of_a_lock_file_is_removed_and_its_target_is_left_alone(cache, source):
    victim = cache.parent / "victim"
    victim.write_text("precious")
    for digit in "0123456789abcdef":
        (cache / f"build_{digit}.lock").symlink_to(victim)
    assert build_cache.load(source).answer() == 42
    assert victim.read_text() == "precious"


@needs_compiler
def test_compilers_keep_their_temporary_files_in_the_cache(cache, source, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    compiler = tmp_path / "c++"
    compiler.write_text(f'#!/bin/sh\necho "$TMPDIR" > {seen}\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    build_cache.load(source)
    scratch = Path(seen.read_text().strip())
    assert scratch.parent == cache
    assert not scratch.exists()


@needs_compiler
def test_failed_compiler_is_reported_and_leaves_no_files(cache, tmp_path):
    bad = tmp_path / "bad.c"
    bad.write_text("this is not C")
    with pytest.raises(RuntimeError, match="failed: "):
        build_cache.load(bad)
    assert {path.suffix for path in cache.iterdir()} <= {".lock"}


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_prune_keeps_recently_used_libraries_and_their_entries(cache, monkeypatch):
    monkeypatch.setattr(build_cache, "KEEP", 2)
    monkeypatch.setattr(build_cache, "KEEP_ENTRIES", 3)
    for i in range(4):
        (cache / f"lib{i}.so").touch()
        age(cache / f"lib{i}.so", 100 - i)  # lib2 and lib3 are the newest
        for part in "abc":
            (cache / f"entry{i}{part}.txt").write_text(f"lib{i}.so 0.9")
            age(cache / f"entry{i}{part}.txt", 100 - i)
    (cache / "build_f.lock").touch()
    old, new = cache / "build_old", cache / "build_new"
    old.mkdir(), new.mkdir()
    age(old, build_cache.SCRATCH_LIFETIME + 60)
    build_cache.prune()
    assert {p.name for p in cache.iterdir()} == {
        "lib2.so", "lib3.so", "entry3a.txt", "entry3b.txt", "entry3c.txt", "build_f.lock", "build_new"
    }  # fmt: skip


BUILD = """
import sys, time
from pathlib import Path
from rl_cli.engine import build_cache
build = build_cache._build
def slow(*arguments):
    print("built", flush=True)
    time.sleep(1.0)
    build(*arguments)
build_cache._build = slow
assert build_cache.load(Path(sys.argv[1])).answer() == 42
"""


@needs_compiler
def test_processes_that_need_the_same_library_build_it_once(cache, source):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(source)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert "".join(outputs) == "built\n"
    locks = list(cache.glob("*.lock"))
    assert len(locks) <= 1


def test_a_stopped_process_that_holds_the_lock_stops_no_other(cache, monkeypatch):
    code = "from rl_cli.engine.build_cache import build_lock\nwith build_lock('x'): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(build_cache, "BUILD_TIMEOUT", 0.2)
        started = time.monotonic()
        with build_cache.build_lock("x"):
            waited = time.monotonic() - started
        holder.kill()
    assert 0.2 <= waited < 5


def test_lock_file_is_the_same_before_and_after(cache):
    """A deleted lock file would let a second process lock another file of the same name."""
    with build_cache.build_lock("x"):
        (lock,) = cache.glob("*.lock")
        inode = lock.stat().st_ino
    with build_cache.build_lock("x"):
        assert lock.stat().st_ino == inode
    assert lock.exists()
    assert len({build_cache.digest(str(i))[0] for i in range(1000)}) == 16  # files at most


@needs_compiler
def test_torch_keeps_its_files_in_the_cache_while_it_traces_and_builds(
    cache, tmp_path, monkeypatch
):
    """The names of its folders in /tmp are known to everybody; it loads settings and libraries from there."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    before, temporary, seen = dict(os.environ), tempfile.gettempdir(), []

    def stop(*_):
        torchs = (os.environ[name] for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"))
        seen.append([*torchs, os.environ["TMPDIR"], tempfile.gettempdir()])
        raise RuntimeError("enough")

    notes = []
    monkeypatch.setattr(compiler_module, "trace", stop)
    step = compiler_module.StepCompiler("x", notes.append)
    assert step(lambda x: [x], [torch.zeros(1)], ()) is None
    assert notes == ["the update step runs uncompiled, slower: enough"]
    monkeypatch.setattr(inductor, "generate", stop)
    empty = SimpleNamespace(graph=SimpleNamespace(nodes=[]))
    with pytest.raises(RuntimeError, match="enough"):
        inductor.build(empty, [], cache / "build_x", 1, notes.append)
    assert len(seen) == 2
    assert all(cache in Path(path).parents for paths in seen for path in paths)
    assert dict(os.environ) == before
    assert tempfile.gettempdir() == temporary
