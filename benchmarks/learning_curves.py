"""The pictures of docs/learning.md: curves of the recorded results, drawn as rl-report draws those of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from learning_cases import CASES, Case

from rl_cli.report import groups, page, pictures, summary
from rl_cli.report.run_data import RunData

Results = Sequence[Mapping[str, Any]]


def draw(known: Mapping[str, Results], folder: Path) -> list[str]:
    """Write learning-<env>.png per env, with a line per algorithm. -> names of the files.

    Rows of an earlier version of the record have no curves and are left out.
    """
    runs = [
        _run(CASES[name], each)
        for name in CASES
        for each in known.get(name, ())
        if each["curve"] is not None
    ]
    rows = summary.summarize(groups.group(runs))
    described = page.describe("", rows, answers=[], notes=[], folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, png in pictures.draw(described | {"across": None}).items():
        if not name.endswith("-solved.png"):
            names.append(name.replace("report-", "learning-"))
            (folder / names[-1]).write_bytes(png)
    return names


def _run(case: Case, result: Mapping[str, Any]) -> RunData:
    """A recorded seed as what a report reads of a run."""
    steps, values = (np.array(part) for part in result["curve"])
    return RunData(
        folder=Path("."), algo=case.algo, env=case.env, seed=result["seed"],
        config={"total_timesteps": f"{result['steps']:_}"},
        state="completed", reason="", step=result["steps"], seconds=result["seconds"],
        success_at=result["success_at"], steps=steps, returns=values.astype(np.float64),
        seconds_at=np.full(len(steps), np.nan), skipped=0, training=np.zeros((0, 2)), machine="",
        versions={}, sources={},
    )  # fmt: skip


def links(names: Sequence[str]) -> str:
    """Markdown of the pictures, two in a line."""
    shown = [f"![evaluation return over steps](img/{name})" for name in names]
    return "\n".join(" ".join(shown[i : i + 2]) for i in range(0, len(shown), 2))
