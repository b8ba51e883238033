"""Checks of configuration files that are not shipped, when Hydra loads them: they are data.

A file of conf/ in the current folder, of --config-dir or of hydra.searchpath sets values of a run. It
may not set keys of Hydra (callbacks, launcher, environment variables), name a class, or use a resolver
(`${oc.env:...}`); only the command line may. A file of tuned values is chosen by its name alone, so it
may not choose an env or a group either.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from rl_cli.cli.config_groups import CONF
from rl_cli.core.errors import BadInput
from rl_cli.storage.untrusted import MAX_YAML_BYTES, special_kind

SWEEPS = ("hydra.mode", "hydra.sweeper.params")
"""The keys of Hydra that a file of `CHOSEN` may set: the file defines a sweep."""

CHOSEN = ("experiment", "sweep")
"""Groups whose files only the command line can select; they may choose other groups."""

CLASSES = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
"""Keys by which Hydra makes objects."""

PACKAGE = re.compile(r"\w+(\.\w+)*")
"""A package: where in the configuration Hydra puts the content of a file."""

MAX_VALUES = 20_000
"""Values in one file, with aliases (*name) expanded."""

Leaf = tuple[str, Any]  # dotted key, value that is no mapping


def is_shipped(source: Any) -> bool:
    """Whether a source of Hydra's search path is ours, Hydra's or a plugin's."""
    if source.scheme() == "file":
        return Path(source.path).resolve() == CONF.resolve()
    return bool(source.scheme() == "structured" or source.provider == "hydra")


def require_small(file: Path) -> None:
    """Refuse what would block or fill the memory when Hydra reads it; errors of YAML are Hydra's."""
    status = file.stat()  # of the target: a link to a file is the user's own business
    if (kind := special_kind(status.st_mode)) is not None:
        raise _refusal(file, f"it is {kind}", "", "replace it by a file")
    if status.st_size > MAX_YAML_BYTES:
        raise _refusal(file, f"larger than {MAX_YAML_BYTES:,} bytes", "", "split it")
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
        too_many = node is not None and _size(node, {}) > MAX_VALUES
    except RecursionError:
        raise _refusal(file, "nested too deeply", "", "flatten it") from None
    except (OSError, UnicodeError, yaml.YAMLError):
        return
    if too_many:
        raise _refusal(file, f"more than {MAX_VALUES:,} values", "", "split it")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes, each counted as often as an alias repeats it. `known`: by the id of a node."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # the value where an alias is inside its own anchor
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [child for part in parts for child in (part if type(part) is tuple else [part])]
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


def check(file: Path, config_path: str, result: Any) -> None:
    """Refuse content that a file that is not shipped may not have.

    Args:
        file: the path.
        config_path: its name for Hydra, such as env/corridor.
        result: Hydra's ConfigResult.

    Raises:
        BadInput: names the file and the key.

    """
    _File(file, config_path).check(result)


class _File:
    """A file that is not shipped. Args: its path; its name for Hydra, such as env/corridor."""

    def __init__(self, path: Path, config_path: str) -> None:
        self.path, self.group = path, config_path.rpartition("/")[0].strip("/")
        self.is_chosen = self.group in CHOSEN

    def check(self, result: Any) -> None:
        """Raise BadInput for what the file may not contain; `result` is Hydra's ConfigResult."""
        from omegaconf import OmegaConf

        if self.group.split("/")[0] == "hydra":
            raise self.refusal("it would replace a file of Hydra", "hydra/", "rename its folder")
        header = result.header.get("package") or "_group_"
        parts = header.replace("_group_", self.group.replace("/", ".")).split(".")
        if not PACKAGE.fullmatch(header) or {"hydra", "_name_"} & set(parts):
            fix = "use # @package _global_, or the name of a group"
            raise self.refusal("its package line is not allowed", f"# @package {header}", fix)
        for entry in result.defaults_list:
            self.check_default(entry)
        package = ".".join(part for part in parts if part and part != "_global_")
        content = OmegaConf.to_container(result.config, resolve=False)
        for key, value in _leaves(content, package):
            self.check_value(key, value)

    def check_default(self, entry: Any) -> None:
        """An entry of the defaults list: a GroupDefault or ConfigDefault of Hydra."""
        path = str(getattr(entry, "group", None) or getattr(entry, "path", ""))
        package, chosen = str(entry.package or ""), getattr(entry, "value", None)
        values = [str(value) for value in (chosen if isinstance(chosen, list) else [chosen])]
        key = f"defaults: {path}" + (f"@{package}" if package else "")
        words = {*path.split("/"), *package.split(".")}
        if {"hydra", "_name_"} & words or "$" in path or not PACKAGE.fullmatch(package or "_here_"):
            raise self.refusal("it may not choose a group of Hydra", key, ON_THE_LINE)
        if ".." in f"{path} {' '.join(values)}" or any(v.startswith("/") for v in values):
            raise self.refusal("it may not leave its folder", key, "name a file of a group")
        for value in values:
            self.check_text(key, value)
        own = not path.startswith("/") or f"{path}/".startswith(f"/{self.group}/")
        overrides = bool(getattr(entry, "override", False))
        if not self.is_chosen and (overrides or package or not own):
            fix = "choose it in a file of conf/experiment, or on the command line"
            raise self.refusal(
                f"a file of {self.group or 'conf'}/ chooses no other group", key, fix
            )

    def check_value(self, key: str, value: Any) -> None:
        """A value by its dotted key in the whole configuration."""
        parts = key.split(".")
        if parts[0] == "hydra":
            is_sweep = self.is_chosen and any(key == k or key.startswith(f"{k}.") for k in SWEEPS)
            override = key.removeprefix(f"{SWEEPS[1]}.")
            plain = override == key or re.fullmatch(r"(?!hydra\b)[\w.]+(/\w+)*", override)
            if not is_sweep or not plain:
                raise self.refusal("it may not set keys of Hydra", key, ON_THE_LINE)
        if any(part in CLASSES for part in parts):
            raise self.refusal("it may not name a class", key, "remove this key")
        if key in ("run_dir", "resume") and self.group not in CHOSEN:
            fix = "choose it in a file of conf/experiment, or on the command line"
            raise self.refusal("it may not choose a run folder", f"{key}={value}", fix)
        if key == "env.id" and self.group not in ("env", *CHOSEN):
            fix = "set it in a file of conf/env, and choose that with env=<name>"
            raise self.refusal("it may not choose the env", f"{key}={value}", fix)
        self.check_text(key, value)

    def check_text(self, key: str, value: Any) -> None:
        """Refuse `${name:...}`, and `${hydra...}`. Interpolations of keys are allowed."""
        if not isinstance(value, str) or "${" not in value:
            return
        if any(_resolvers(value)) or re.search(r"\$\{[.\s]*hydra\b", value):
            fix = "write the value itself, or give it on the command line"
            raise self.refusal("it may not use a resolver", f"{key}={value}", fix)

    def refusal(self, why: str, key: str, fix: str) -> BadInput:
        return _refusal(self.path, why, key, fix)


ON_THE_LINE = "remove it; only the command line sets what belongs to Hydra"


def _refusal(file: Path, why: str, key: str, fix: str) -> BadInput:
    with contextlib.suppress(ValueError):
        file = file.relative_to(Path.cwd())
    what = f"this file is not accepted: {why}"
    return BadInput(what, f"{file}: {key}" if key else str(file), fix)


def _leaves(value: Any, key: str) -> Iterator[Leaf]:
    """Every value by its dotted key; an empty mapping or list counts as a value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for i, part in enumerate(value):
            yield from _leaves(part, f"{key}.{i}")
    else:
        yield key, value


def _resolvers(text: str) -> Iterator[str]:
    """The resolvers that a string would call; the string itself if it cannot be parsed."""
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
    from omegaconf.grammar_parser import parse

    find = cast("Callable[[str], Any]", parse)
    try:
        nodes = [find(text)]
    except GrammarParseError:
        yield text
        return
    while nodes:
        node = nodes.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            yield str(node.getText())
        nodes += getattr(node, "children", None) or []
