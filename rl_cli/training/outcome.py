"""How a run ended."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. `exit_code`: 0 done, 2 bad input, 3 not finite, 4 storage, 130/143 signal."""

    exit_code: int
    state: str
    reason: str
    step: int = 0
    run_dir: str = ""
    eval_return: float | None = None
    seconds: float = 0.0
