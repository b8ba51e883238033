"""The rooms: imports run downwards only, and the learning code knows no files, loggers or envs."""

from __future__ import annotations

import ast
import re

from tests.conftest import REPO

PACKAGE = REPO / "rl_cli"
LAYERS = [
    {"errors", "__init__"},
    {"schema"},
    {"types", "config", "memory", "library_cache"},
    {
        "frames",
        "tensor_file",
        "functional",
        "gaussians",
        "schedules",
        "seeding",
        "files",
        "folder_lock",
        "untrusted",
        "lander",
        "atari",
        "earlier",
        "c_library",
        "inputs",
        "minibatches",
        "lifting",
        "children",
    },
    {
        "networks",
        "value_distributions",
        "distributions",
        "buffers",
        "learner",
        "normalization",
        "statistics",
        "envs",
        "classic",
        "manifest",
        "periods",
        "keyboard",
        "sum_tree",
        "repeat",
        "aot",
    },
    {"acting", "compiled", "native", "vector", "n_step", "prioritized", "rollouts", "q_heads"},
    {"workers"},
    {"actor_critic", "q_network"},
    {"algos"},
    {
        "evaluation",
        "logger",
        "checkpoint",
        "policy",
        "terminal",
        "run_folder",
        "trust",
        "stopping",
        "transitions",
        "lessons",
    },
    {"strides"},
    {
        "background",
        "video",
        "patience",
        "watchdog",
        "interruption",
        "checkpoint_store",
        "assembly",
        "stretch",
    },
    {"films", "resume"},
    {"trainer"},
    {"run"},
    {"replay", "play"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path):
    """Modules a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "rl_cli":
                yield from (f"rl_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


def files():
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_its_place():
    assert {room_of(path) for path in files()} == set(LEVEL)


def test_imports_run_downwards_only():
    wrong = []
    for path in files():
        here = room_of(path)
        for module in imports_of(path):
            there = module.split(".")[1] if module.startswith("rl_cli.") else None
            if there in LEVEL and there != here and LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{path.name} imports {module}")
    assert not wrong


def test_algorithms_know_no_gymnasium_no_logger_no_files():
    allowed = {"abc", "collections", "dataclasses", "typing", "numpy", "torch", "pydantic"}
    allowed |= {"rl_cli", "__future__"}
    registry = {"functools", "importlib", "pkgutil", "types"}  # algos/__init__.py finds the others
    for path in (PACKAGE / "algos").glob("*.py"):
        tops = {module.split(".")[0] for module in imports_of(path)}
        assert tops <= allowed | (registry if path.stem == "__init__" else set()), path.name


def test_one_algorithm_does_not_import_another():
    for path in (PACKAGE / "algos").glob("*.py"):
        siblings = {m for m in imports_of(path) if m.startswith("rl_cli.algos.")}
        own = f"rl_cli.algos._{path.stem}_config"
        assert siblings <= {"rl_cli.algos.base", own}, path.name


def test_the_trainer_never_asks_which_algorithm_it_runs():
    text = (PACKAGE / "trainer.py").read_text()
    assert not re.search(r"isinstance|\bdqn\b|\bppo\b|\breinforce\b", text, re.IGNORECASE)


def test_only_the_commands_know_hydra():
    for path in files():
        if room_of(path) != "cli":
            assert not any(m.split(".")[0] in ("hydra", "omegaconf") for m in imports_of(path)), (
                path
            )
