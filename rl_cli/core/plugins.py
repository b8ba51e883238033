"""Classes by name: modules of one of our packages, and entry points of installed packages.

A configuration or a checkpoint can name only what is found here; it can never name a module or a class.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from rl_cli.core.errors import BadInput, RunError, did_you_mean, first_line

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes that can be chosen for one purpose.

    Args:
        kind: what they are, for messages: "callback".
        key: how a configuration names one, with {} in place of the name: "callbacks.{}".
        package: a package of ours; each of its modules that is not in `shared` defines exactly one.
        shared: modules of that package that define none.
        group: entry-point group of other packages; the name of an entry is the name to choose.
        accepts: whether a class is one of them.

    """

    def __init__(
        self,
        kind: str,
        key: str,
        package: str,
        shared: Collection[str],
        group: str,
        accepts: Callable[[type], bool],
    ) -> None:
        self.kind, self.key, self.package, self.group = kind, key, package, group
        self.shared, self.accepts = frozenset(shared), accepts

    def names(self) -> list[str]:
        """Every name that can be chosen."""
        return sorted({*self._shipped(), *_installed(self.group)})

    def load(self, name: str) -> type[T]:
        """The class called `name`.

        Raises:
            BadInput: there is none, or its module cannot be imported.

        """
        if name not in self.names():
            known = f"one of: {', '.join(self.names())}"
            none = f"install a package that provides this {self.kind}, or leave the key out"
            raise BadInput(
                f"unknown {self.kind} {name}",
                self.key.format(name),
                did_you_mean(name, self.names(), known) if self.names() else none,
            )
        if name in self._shipped():
            return self._class_in(importlib.import_module(f"{self.package}.{name}"))
        try:
            found = _installed(self.group)[name].load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit, of a script
            problem = f"cannot be imported: {type(error).__name__}: {first_line(error)}"
            raise self.unusable(name, problem) from error
        if not (isinstance(found, type) and self.accepts(found)):
            raise self.unusable(name, f"is {found!r}: no {self.kind} class")
        return found

    def unusable(self, name: str, problem: str) -> BadInput:
        """The error for an installed class that cannot be used."""
        return BadInput(
            f"the {self.kind} {name} {problem}",
            self.key.format(name),
            "repair or reinstall the package that provides it",
        )

    def factories(self, chosen: Mapping[str, Mapping[str, Any]]) -> list[Callable[[Any], T]]:
        """One constructor for each chosen class, with its settings filled in: constructor(context).

        Raises:
            BadInput: unknown name, or settings that the class does not take.

        """
        return [self._factory(name, settings) for name, settings in chosen.items()]

    def _factory(self, name: str, settings: Mapping[str, Any]) -> Callable[[Any], T]:
        cls = self.load(name)
        try:
            inspect.signature(cls).bind(None, **settings)
        except TypeError as error:
            takes = list(inspect.signature(cls).parameters)[1:]
            raise BadInput(
                f"{self.kind} {name}: {error}",
                " ".join(f"{self.key.format(name)}.{k}={v}" for k, v in settings.items())
                or self.key.format(name),
                f"settings: {', '.join(takes) or 'none'}",
            ) from None
        return functools.partial(self._construct, name, cls, dict(settings))

    def _construct(
        self, name: str, cls: Callable[..., T], settings: Mapping[str, Any], context: Any
    ) -> T:
        try:
            return cls(context, **settings)
        except RunError:
            raise
        except Exception as error:  # a value that the class refuses in its own way
            given = [f"{self.key.format(name)}.{k}={v}" for k, v in settings.items()]
            raise BadInput(
                f"{self.kind} {name}: {type(error).__name__}: {error}",
                " ".join(given) or self.key.format(name),
                "correct the settings, or the code of the package that provides it",
            ) from error

    def _shipped(self) -> list[str]:
        path = importlib.import_module(self.package).__path__
        return [m.name for m in pkgutil.iter_modules(path) if m.name not in self.shared]

    def _class_in(self, module: ModuleType) -> type[T]:
        defined = (v for v in vars(module).values() if isinstance(v, type))
        (found,) = (
            cls for cls in defined if cls.__module__ == module.__name__ and self.accepts(cls)
        )
        return found


def conf_folders(group: str) -> list[Path]:
    """The folders `conf/` of the packages with an entry point in `group`. No package is imported."""
    found = []
    for entry in _installed(group).values():
        with contextlib.suppress(Exception):  # a package whose files are damaged
            spec = importlib.util.find_spec(entry.module.partition(".")[0])
            places = (spec and spec.submodule_search_locations) or ()
            found += [folder for place in places if (folder := Path(place) / "conf").is_dir()]
    return list(dict.fromkeys(found))


@functools.cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """By name. Cached: a look-up opens a file of every installed package."""
    return {entry.name: entry for entry in entry_points(group=group)}
