"""core, config and storage do not import torch, so that refusals of bad input take no seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import importlib, pkgutil, sys
package = importlib.import_module("rl_cli.{package}")
names = [m.name for m in pkgutil.iter_modules(package.__path__)]
for name in names:
    importlib.import_module(f"rl_cli.{package}.{{name}}")
print(len(names), "torch" in sys.modules)
"""


@pytest.mark.parametrize("package", ["core", "config", "storage"])
def test_package_imports_no_torch(package):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, imported = done.stdout.split()
    assert int(count) >= 7
    assert imported == "False"
