"""Launchers of other packages: the processes that they keep are ended with the sweep."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def ended(name: str | None) -> Iterator[None]:
    """At the end of the body, end the idle processes of a launcher. Args: name: `hydra/launcher`.

    joblib keeps its workers for further calls, and waits for them when the interpreter ends: seconds for each that
    has imported torch, and more on a busy machine.
    """
    try:
        yield
    finally:
        loky = sys.modules.get("joblib.externals.loky")
        if name == "joblib" and loky is not None:
            loky.get_reusable_executor().shutdown(kill_workers=True)
