"""Whether a CUDA device can exist, found out without importing torch."""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version

from rl_cli.core.errors import BadInput


def require_driver(device: str) -> None:
    """Refuse `device=cuda` on a machine without a CUDA driver.

    A machine that passes may still have no device: torch looks for it when the networks are made.

    Raises:
        BadInput: torch is built without CUDA, or the driver library cannot be loaded.

    """
    if device == "cuda" and not _may_have_cuda():
        raise BadInput("no CUDA driver is installed", "device=cuda", "use device=cpu")


def _may_have_cuda() -> bool:
    try:
        build = version("torch").partition("+")[2]
    except PackageNotFoundError:
        return True
    if build.startswith("rocm"):  # torch calls AMD's devices cuda; they have another driver
        return True
    if build == "cpu" or sys.platform == "darwin":
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
