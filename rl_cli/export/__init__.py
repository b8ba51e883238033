"""Policies outside of this program: files that other programs read. A format is one file of `formats`.

Importing it imports no torch.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rl_cli.core.plugins import Registry

if TYPE_CHECKING:
    from rl_cli.export.base import Exporter


def _is_exporter(cls: type) -> bool:
    from rl_cli.export.base import Exporter

    return issubclass(cls, Exporter)


FORMATS = f"{__name__}.formats"

REGISTRY: Registry[Exporter] = Registry(
    "format", "{}", FORMATS, (), "rl_cli.exporters", _is_exporter
)


def names() -> list[str]:
    """Every format, shipped or installed with another package."""
    return REGISTRY.names()


def summaries() -> dict[str, str]:
    """What each format is, by name, for `--help`.

    The first line of the file's docstring: importing the file takes seconds.
    """
    found = {}
    for name in names():
        spec = importlib.util.find_spec(f"{FORMATS}.{name}")
        source = Path(str(spec.origin)).read_text(encoding="utf-8") if spec is not None else ""
        text = ast.get_docstring(ast.parse(source)) or "of an installed package"
        found[name] = text.partition("\n")[0].rstrip(".")
    return found
