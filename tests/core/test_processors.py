"""Number and description of the processors of this machine."""

from __future__ import annotations

import os

import pytest

from rl_cli.core import processors
from rl_cli.engine import build_cache
from rl_cli.training import conditions


@pytest.fixture
def cpuinfo(monkeypatch, tmp_path):
    """Replace the content of /proc/cpuinfo; None: there is no such file."""

    def replace(text):
        file = tmp_path / "cpuinfo"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(processors, "Path", lambda _: file)
        processors.cpuinfo.cache_clear()
        conditions._processor.cache_clear()

    yield replace
    processors.cpuinfo.cache_clear()
    conditions._processor.cache_clear()


def test_threads_of_concurrent_runs_share_the_processors(monkeypatch):
    monkeypatch.setattr(processors, "available", lambda: 5)
    assert [processors.share(runs) for runs in (1, 2, 5, 8)] == [5, 2, 1, 1]
    assert (processors.number_of("auto"), processors.number_of(3)) == (5, 3)


def test_available_processors_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processors.available() == os.cpu_count()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model name\t: A\nflags\t\t: fpu avx2\n\nmodel name\t: B\nflags\t\t: sse\n", "avx2"),
        ("Features\t: fp asimd\n", "asimd"),
        ("processor\t: 0\nisa\t\t: rv64imafdc\n", None),
        ("", None),
        (None, None),
    ],
)
def test_libraries_are_for_the_instructions_of_the_processor(cpuinfo, text, found):
    cpuinfo("")
    unknown = build_cache.machine()
    cpuinfo(text)
    assert (build_cache.machine() == unknown) == (found is None)
    if found is not None:
        assert found in build_cache.machine()
        assert found in conditions._processor()["instructions"]
    assert "sse" not in build_cache.machine()
