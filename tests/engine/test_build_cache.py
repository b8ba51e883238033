"""The folder of compiled libraries: whom it trusts, what it deletes, who builds."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl_cli.engine import build_cache
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


@needs_compiler
def test_cache_that_others_can_write_to_is_refused(cache, source):
    build_cache.load(source)
    cache.chmod(0o770)
    with pytest.raises(RuntimeError, match="chmod 700"):
        build_cache.load(source)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_cache_of_another_user_is_refused(cache, source):
    os.chown(cache, 65534, 65534)
    with pytest.raises(RuntimeError, match="belongs to another user"):
        build_cache.load(source)


@needs_compiler
@pytest.mark.parametrize("length", [0, 70, 8192, -1])
def test_truncated_library_is_rebuilt(cache, source, length):
    """Loading a truncated one can kill the process with SIGBUS, so the build is in a process of its own."""
    first = Path(build_cache.load(source)._name)
    whole = first.read_bytes()
    first.unlink()  # this process has it mapped
    first.write_bytes(whole[:length])
    code = (
        "import torch; torch.set_num_threads(1); "
        "from pathlib import Path; from rl_cli.engine import build_cache; "
        f"print(build_cache.load(Path({str(source)!r})).answer())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert len(first.read_bytes()) == len(whole)


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


def test_lock_file_is_the_same_before_and_after(cache):
    """A deleted lock file would let a second process lock another file of the same name."""
    with build_cache.build_lock("x"):
        (lock,) = cache.glob("*.lock")
        inode = lock.stat().st_ino
    with build_cache.build_lock("x"):
        assert lock.stat().st_ino == inode
    assert lock.exists()
    assert len({build_cache.digest(str(i))[0] for i in range(1000)}) == 16  # files at most
