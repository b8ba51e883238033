"""What a learning result depends on, as a short hash: configuration, code and packages."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pages import REPO

PACKAGES = ("torch", "gymnasium", "numpy")
CODE = ("algos", "buffers", "collectors", "engine", "envs", "models")
"""Folders of rl_cli whose code decides what is learned."""
NOT_LEARNING = ("seed", "run_dir", "resume", "quiet", "display", "jobs", "labels", "log", "video")
"""Keys of a configuration that change no result."""


def packages() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def fingerprint(words: Sequence[str]) -> str:
    """Eight digits that change when a result of `rl-train WORDS` might.

    Comments and docstrings do not count.
    """
    parts = [json.dumps(_config(words), sort_keys=True), json.dumps(packages())]
    parts += [platform.python_version(), *_code()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _config(words: Sequence[str]) -> dict[str, Any]:
    with initialize_config_dir(str(REPO / "conf"), version_base=None):
        config: Any = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    return {key: value for key, value in config.items() if key not in NOT_LEARNING}


def _code() -> Iterator[str]:
    for folder in CODE:
        for path in sorted((REPO / "rl_cli" / folder).rglob("*.*")):
            if path.suffix == ".py":
                yield without_words(path.read_text())
            elif path.suffix in (".c", ".h"):
                yield path.read_text()


def without_words(source: str) -> str:
    """The code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
