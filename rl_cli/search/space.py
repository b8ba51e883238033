"""Search spaces: which keys a search changes, and between which values. Does not import optuna.

A space is a YAML file, one key of a run per line with one kind of range:

    algo.learning_rate: {log: [1e-5, 1e-2]}
    algo.gamma: {logit: [0.9, 0.9999]}
    algo.n_step: {int: [1, 5]}
    algo.batch_size: {categorical: [32, 64, 128]}
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.core.errors import BadInput, did_you_mean
from rl_cli.core.start_folder import relative
from rl_cli.storage.untrusted import MAX_YAML_BYTES, parse_yaml, read

KINDS = ("float", "log", "int", "log_int", "categorical", "logit")
LOGARITHMIC = ("log", "log_int")
INTEGER = ("int", "log_int")

DIGITS = 4
"""Significant digits of a sampled number; more make no difference and are hard to read."""

MAX_CHOICES = 1_000

SHAPE = "write key: {log: [1e-5, 1e-2]}; kinds: " + ", ".join(KINDS)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The range of one key.

    Attributes:
        key: of a run, such as algo.gamma.
        kind: one of KINDS.
        low, high: ends of a range; NaN for categorical.
        choices: values of categorical; empty for ranges.

    """

    key: str
    kind: str
    low: float = math.nan
    high: float = math.nan
    choices: tuple[Any, ...] = ()

    def ends(self) -> list[Any]:
        """The values at both ends; all choices of categorical."""
        if self.kind == "categorical":
            return list(self.choices)
        return [self._number(self.low), self._number(self.high)]

    def _number(self, value: float) -> float | int:
        return int(value) if self.kind in INTEGER else float(value)

    def parameter(self, value: Any) -> float | int | str:
        """A value of the key as the parameter that the sampler sees: logits, JSON of choices.

        Raises:
            ValueError: it has no parameter.

        """
        if self.kind == "categorical":
            return json.dumps(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{json.dumps(value)} is not a number")
        if self.kind == "logit":
            if not 0 < value < 1:
                raise ValueError(f"{value:g} has no logit")
            return math.log(value / (1 - value))
        if self.kind in LOGARITHMIC and value <= 0:
            raise ValueError(f"{value:g} has no logarithm")
        return self._number(value)

    def value(self, parameter: float | int | str) -> Any:
        """The value of the key for a parameter, with DIGITS significant digits."""
        if self.kind == "categorical":
            return json.loads(str(parameter))
        if self.kind in INTEGER:
            return int(parameter)
        number = float(parameter)
        if self.kind == "logit":  # the digits of the smaller of value and 1 - value
            small = 1 / (1 + math.exp(abs(number)))
            small = float(f"{small:.{DIGITS}g}")
            number = small if number < 0 else round(1 - small, 12)
        else:
            number = float(f"{number:.{DIGITS}g}")
        return min(max(number, self.low), self.high)

    def widened(self, value: Any) -> Dimension:
        """The dimension with `value` in it. Raises ValueError if it has no parameter."""
        self.parameter(value)
        if self.kind == "categorical":
            known = value in self.choices and any(
                type(c) is type(value) and c == value for c in self.choices
            )
            return self if known else dataclasses.replace(self, choices=(*self.choices, value))
        low, high = min(self.low, float(value)), max(self.high, float(value))
        return dataclasses.replace(self, low=low, high=high)

    def recorded(self) -> dict[str, Any]:
        """As in a space file."""
        return {self.kind: self.ends()}


Space = dict[str, Dimension]
"""Dimensions by key."""


def load(path: Path) -> Space:
    """Read a space.

    Raises:
        BadInput: the file is no space; names the key.

    """
    where = relative(path)
    try:
        content = parse_yaml(read(path, MAX_YAML_BYTES))
    except OSError as error:
        raise BadInput(f"cannot read it: {error.strerror}", where, "name a space file") from None
    except ValueError as error:
        raise BadInput(f"not a search space: {error}", where, SHAPE) from None
    if not isinstance(content, dict) or not content:
        raise BadInput("this search space has no keys", where, SHAPE)
    return {str(key): _dimension(str(key), entry, where) for key, entry in content.items()}


def _dimension(key: str, entry: Any, where: str) -> Dimension:
    where = f"{where}: {key}"
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise BadInput(f"{key} needs one kind of range", where, SHAPE)
    ((kind, values),) = entry.items()
    if kind not in KINDS:
        known = f"kinds: {', '.join(KINDS)}"
        raise BadInput(f"no kind of range {kind}", where, did_you_mean(str(kind), KINDS, known))
    if not isinstance(values, list) or not values:
        raise BadInput(f"{kind} needs a list of values", where, SHAPE)
    if kind == "categorical":
        texts = {json.dumps(value, default=str) for value in values}
        if len(texts) < len(values) or not 1 < len(values) <= MAX_CHOICES:
            raise BadInput("categorical needs two or more different values", where, SHAPE)
        return Dimension(key, kind, choices=tuple(map(_plain, values)))
    return _range(key, str(kind), values, where)


def _range(key: str, kind: str, values: list[Any], where: str) -> Dimension:
    try:
        low, high = (float(value) for value in values)  # YAML reads 1e-5 as a text
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"{kind} needs two numbers", where, SHAPE) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInput("the first number must be below the second", where, SHAPE)
    if kind in INTEGER and not (low.is_integer() and high.is_integer()):
        raise BadInput(f"{kind} needs whole numbers", where, SHAPE)
    if kind in LOGARITHMIC and low <= 0:
        raise BadInput(f"{kind} needs numbers above 0", where, "use float or int, or raise it")
    if kind == "logit" and not (low > 0 and high < 1):
        raise BadInput("logit needs numbers between 0 and 1", where, "logit: [0.9, 0.9999]")
    return Dimension(key, kind, low, high)


def _plain(value: Any) -> Any:
    """A choice; a text that is a number in YAML 1.2 (1e-5) is one."""
    if isinstance(value, str) and value[:1] in "0123456789-+.":
        try:
            return float(value)
        except ValueError:
            return value
    return value


def values_of(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of keys for the parameters of a trial."""
    return {key: space[key].value(found) for key, found in parameters.items() if key in space}
