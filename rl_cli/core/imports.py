"""Imports of large packages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """In the body, which imports torch or what needs it, no garbage is collected.

    Imported modules stay; the garbage collector would traverse them again and again, a tenth of the
    time that these imports take.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
