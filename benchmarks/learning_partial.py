"""Seeds of rows that are not complete: a measurement of hours continues elsewhere, from a clone of the repository."""

from __future__ import annotations

import json
from typing import Any

from pages import REPO

FILE = REPO / "benchmarks/learning_partial.json"

Result = dict[str, Any]


def seeds_of(name: str, key: str) -> list[Result]:
    """Results of a case, by seed.

    Args:
        name: of the case.
        key: of `learning_version.fingerprint`; results of another configuration, code or packages are not given.

    """
    entry = _read().get(name, {})
    results: list[Result] = entry.get("results", []) if entry.get("key") == key else []
    return results


def add(name: str, key: str, result: Result) -> list[Result]:
    """Keep one more seed. -> those of the case so far; seeds of another key are dropped."""
    others = [each for each in seeds_of(name, key) if each["seed"] != result["seed"]]
    results = sorted([*others, result], key=lambda each: int(each["seed"]))
    _write(_read() | {name: {"key": key, "results": results}})
    return results


def remove(name: str) -> None:
    """The row is complete and recorded elsewhere."""
    _write({case: entry for case, entry in _read().items() if case != name})


def _read() -> dict[str, Any]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def _write(known: dict[str, Any]) -> None:
    if known:
        FILE.write_text(json.dumps(known).replace('{"seed"', '\n  {"seed"') + "\n")
    else:
        FILE.unlink(missing_ok=True)
