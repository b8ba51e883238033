"""Importing a slow package only when something in it is first used.

torch takes one to three seconds to import; `--help` and refused input need nothing of it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a package until an attribute is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        real = _imported(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, name)


def _imported(package: str) -> ModuleType:
    """The package, imported without the collector: what an import makes stays.

    It would look through thousands of new modules again and again, a tenth of torch's import, and
    is told to leave them out from here on.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(package)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # or an env made before would never be taken apart
        if collected:
            gc.enable()


def defer(package: str) -> None:
    """Make `import package` cost nothing from here on, unless it has been imported already."""
    if package not in sys.modules:
        stand_in = _Deferred(package)
        stand_in.__spec__ = importlib.util.find_spec(package)
        sys.modules[package] = stand_in
