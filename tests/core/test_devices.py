"""device=cuda is refused without torch where no CUDA device can exist."""

from __future__ import annotations

import ctypes
import sys

import pytest

from rl_cli.core import devices
from rl_cli.core.errors import BadInput


def machine(monkeypatch, *, build, driver, platform="linux"):
    """A machine with torch of a certain build, with or without the driver's library."""

    def load(name):
        if not driver:
            raise OSError(name)

    monkeypatch.setattr(devices, "version", lambda package: build)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sys, "platform", platform)


@pytest.mark.parametrize(
    ("build", "driver", "platform"),
    [
        ("2.9.0", False, "linux"),
        ("2.9.0+cu128", False, "linux"),
        ("2.9.0+cpu", True, "linux"),
        ("2.9.0", True, "darwin"),
        ("2.9.0", False, "win32"),
    ],
)
def test_cuda_without_driver_is_refused(monkeypatch, build, driver, platform):
    machine(monkeypatch, build=build, driver=driver, platform=platform)
    with pytest.raises(BadInput, match="no CUDA driver") as caught:
        devices.require_driver("cuda")
    assert (caught.value.where, caught.value.fix) == ("device=cuda", "use device=cpu")


@pytest.mark.parametrize(
    ("build", "driver"), [("2.9.0", True), ("2.9.0+cu128", True), ("2.9.0+rocm6.4", False)]
)
def test_cuda_with_a_driver_is_left_to_torch(monkeypatch, build, driver):
    machine(monkeypatch, build=build, driver=driver)
    devices.require_driver("cuda")


def test_numbered_and_metal_devices_are_checked_too(monkeypatch):
    machine(monkeypatch, build="2.9.0", driver=False)
    for device in ("cuda:1", "mps"):
        with pytest.raises(BadInput) as caught:
            devices.require_driver(device)
        assert (caught.value.where, caught.value.fix) == (f"device={device}", "use device=cpu")
    machine(monkeypatch, build="2.9.0", driver=True, platform="darwin")
    devices.require_driver("mps")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_other_devices_are_never_refused(monkeypatch, device):
    machine(monkeypatch, build="2.9.0+cpu", driver=False)
    devices.require_driver(device)
