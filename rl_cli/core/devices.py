"""Whether a device can exist, found out without importing torch."""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version

from rl_cli.core.errors import BadInput


def require_driver(device: str) -> None:
    """Refuse a device that this machine cannot have: cuda without a CUDA driver, mps outside of macOS.

    A machine that passes may still have no device: torch looks for it when the networks are made.

    Raises:
        BadInput: torch is built without CUDA, the driver library cannot be loaded, or there is no Metal.

    """
    if device.startswith("cuda") and not _may_have_cuda():
        raise BadInput("no CUDA driver is installed", f"device={device}", "use device=cpu")
    if device == "mps" and sys.platform != "darwin":
        raise BadInput("Metal devices exist on macOS only", "device=mps", "use device=cpu")


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
