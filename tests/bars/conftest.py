"""The bars' results, line by line, at the end; `make bars` keeps them in benchmarks/bars.txt."""

from __future__ import annotations

import os
import re
from pathlib import Path

RESULT = re.compile(r"^B\d+ got/needed: .*$", re.MULTILINE)
KEPT = Path(__file__).resolve().parents[2] / "benchmarks/bars.txt"


def pytest_terminal_summary(terminalreporter, exitstatus):
    reports = [r for reports in terminalreporter.stats.values() for r in reports]
    said = {
        line for r in reports if hasattr(r, "capstdout") for line in RESULT.findall(r.capstdout)
    }
    if not said or os.environ.get("RL_CLI_BARS") != "full":
        return
    failed = sorted(r.nodeid for r in terminalreporter.stats.get("failed", []))
    lines = sorted(said, key=lambda line: (int(re.findall(r"\d+", line)[0]), line))
    lines += [f"FAILED {name}" for name in failed]
    terminalreporter.section("bars")
    for line in lines:
        terminalreporter.write_line(line)
    KEPT.write_text("\n".join(lines) + "\n")
