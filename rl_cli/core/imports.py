"""Imports of large packages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """In the body, which imports torch or what needs it, no garbage is collected.

    Imported modules stay; the garbage collector would traverse them again and again, a tenth of the
    time that these imports take. After the body they count as old objects, which only a full collection
    traverses: this saves another sixth of a second.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects and gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()  # to the oldest generation
        if collects:
            gc.enable()
