"""What imports torch, and how: core, config and storage do not, so that refusals of bad input take no seconds."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from rl_cli.core.imports import without_collection

CODE = """
import importlib, pkgutil, sys
package = importlib.import_module("rl_cli.{package}")
names = [m.name for m in pkgutil.iter_modules(package.__path__)]
for name in names:
    importlib.import_module(f"rl_cli.{package}.{{name}}")
print(len(names), "torch" in sys.modules)
"""

WATCH = """
import gc, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("collects" if gc.isenabled() else "does not collect", flush=True)
            raise ImportError("far enough")
sys.meta_path.insert(0, Watch())
from rl_cli.cli.entry import train
train()
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


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_off_in_the_body_and_as_before_after_it(collects):
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if collects else gc.disable)()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
        assert gc.get_freeze_count() == frozen  # garbage of the caller is still collected
    finally:
        (gc.enable if before else gc.disable)()


def test_objects_of_the_body_are_old_and_garbage_among_them_is_collected():
    """The next collection of young objects does not traverse them."""

    class Node:
        pass

    with without_collection():
        kept, lost = Node(), Node()
        lost.itself = lost
        gone = weakref.ref(lost)
        del lost
    assert any(each is kept for each in gc.get_objects(generation=2))
    gc.collect()
    assert gone() is None


def test_rl_train_imports_torch_without_collection(tmp_path):
    command = [sys.executable, "-c", WATCH, "algo=dqn", "env=cartpole"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[:1] == ["does not collect"], done.stderr
