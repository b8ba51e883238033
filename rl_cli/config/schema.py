"""Validated dataclasses: plain values become a frozen configuration or an error message.

The keys are declared in the other modules of this package.
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_origin

import pydantic
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from rl_cli.config.migrations import NOW
from rl_cli.config.other_names import answer, plain_name
from rl_cli.core.errors import BadInput, did_you_mean, nearest

T = TypeVar("T")


def _integral(value: object) -> object:
    """Convert floats without a fraction (1e6) to int; others (1.5) are left for pydantic to refuse."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, int) and abs(whole) >= 2**63:
        raise ValueError("an integer has at most 18 digits")
    return whole


Int = Annotated[int, BeforeValidator(_integral)]

Size = Annotated[int, BeforeValidator(_integral), Field(ge=1, le=16_384)]

Scalar = bool | int | float | str | None


def _path(value: str) -> str:
    """Refuse strings that cannot be a path; whether it exists is checked where it is used."""
    if not value.strip():
        raise ValueError("no folder is named")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise ValueError("a path must be UTF-8 without control characters")
    if len(value) > 2_000 or any(len(part.encode()) > 200 for part in value.split("/")):
        raise ValueError("this path is too long")
    return value


Folder = Annotated[str, AfterValidator(_path)]


@dataclasses.dataclass(frozen=True)
class TypeText:
    """The type that documentation shows for a field whose values a validator checks."""

    text: str


_DEVICES = TypeText("auto | cpu | cuda | cuda:<n> | mps")


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,2})?", value):
        raise ValueError(f"device must be {_DEVICES.text}")
    return value


Device = Annotated[str, AfterValidator(_device), _DEVICES]


def _gpu(value: object) -> object:
    """A device for CUDA_VISIBLE_DEVICES: a number, or the name of a GPU or of a part of it."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,3}|(GPU|MIG)-[\w/-]{1,100}", text):
        raise ValueError(
            "a GPU is a number, or a name such as GPU-<uuid>, as nvidia-smi -L shows it"
        )
    return text


Gpu = Annotated[str, BeforeValidator(_gpu), TypeText("gpu")]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def schema(cls: type[T]) -> type[T]:
    """A frozen dataclass that refuses unknown keys, implicit conversions and NaN.

    Fields have no defaults: the YAML files in `conf/` give every value.
    """
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    checked = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=strict)(cls)
    return cast(type[T], checked)


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Validate `values` and return an instance of `cls`.

    Args:
        cls: a class decorated with `schema`.
        values: plain values, as from YAML or JSON.
        prefix: dotted path of `values` in the whole configuration, for messages.

    Raises:
        BadInput: names the key, its value, and the nearest key or the allowed range.

    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values))
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":  # only lone surrogates give invalid JSON
            where = next(_not_utf8(values, prefix), prefix)
            raise BadInput("a value is not text in UTF-8", where, "write it in UTF-8") from None
        raise _explain(cls, error, prefix) from None
    except TypeError as error:  # a value of a type that YAML does not have
        raise BadInput(
            f"a value is not a number or text: {error}", prefix or "configuration", SEE_HELP
        ) from None


def _not_utf8(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Values with a lone surrogate, which Python makes of a byte that is not UTF-8."""
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from _not_utf8(value, name)
        elif str(value).encode(errors="replace").decode() != str(value):
            yield f"{name}={value}"


def _explain(cls: type, error: ValidationError, prefix: str) -> BadInput:
    errors = error.errors()
    unknown = [e for e in errors if e["type"] in _UNKNOWN_KEY]
    first = (unknown or errors)[0]  # a misspelt key explains the missing one
    path = [str(part) for part in first["loc"] if str(part).isidentifier() and part not in _UNIONS]
    name = ".".join([*([prefix] if prefix else []), *path])
    known = keys(cls, prefix)
    if unknown:
        return BadInput(f"unknown key {name}", f"{name}={first['input']}", suggest(name, known))
    if first["type"] in ("missing", "missing_argument"):
        hint = (
            " (an env file starts with defaults: [_base, _self_])"
            if name.startswith("env.")
            else ""
        )
        return BadInput(f"{name} has no value", name, f"give {name}=<value>{hint}")
    value = json.dumps(first["input"], default=str)
    where = f"{name}={value}" if path else name or "configuration"
    if first["type"] == "dataclass_type":
        inside = [key for key in known if key.startswith(f"{name}.")]
        return BadInput(f"{name} is a group of keys", where, f"set {', '.join(inside[:6])}")
    documented = name if name in known else name.rpartition(".")[0]  # env.kwargs.x -> env.kwargs
    doc = known.get(documented)
    fix = f"{documented}: {doc.describe()}" if doc else SEE_HELP
    return BadInput(_message(first, name, doc), where, fix)


def _message(error: Mapping[str, Any], name: str, doc: Key | None) -> str:
    """What is wrong with one value; pydantic's message if it is about a range."""
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "value_error":
        return text
    if " should have " in text:
        return f"{name} must have {text.partition(' should have ')[2]}"
    if doc is not None and doc.type == "mapping":
        return f"{name} must be " + ("a mapping" if error["type"] == "dict_type" else ENV_VALUE)
    is_list = error["type"] in ("list_type", "tuple_type")  # not one of its values
    if (
        doc is not None
        and (is_list or "|" in doc.type)
        and "ctx" not in error
        and "finite" not in text
    ):
        return f"{name} must be {doc.type}"
    return f"{name} must be {text}"


ENV_VALUE = "a number, a string, true, false, null, or a list of these"

_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")

_UNIONS = ("int", "float", "str", "bool", "function-before", "function-after", "list")


def suggest(name: str, known: Mapping[str, Key]) -> str:
    """Advice for an unknown key.

    In this order: its new name, the key of another group with the same last part, what is called so
    in other programs, a similar key, the keys that there are.
    """
    if name in NOW:
        return f"this is now {NOW[name]}"
    plain = plain_name(name)
    group, _, leaf = plain.rpartition(".")
    if plain in known and plain != name:
        return f"did you mean {plain}?"
    same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == leaf]
    if same_leaf and name not in same_leaf:
        return f"did you mean {same_leaf[0]}?"
    if (other := answer(name, known)) is not None:
        return other
    siblings = {key.removeprefix(f"{group}."): key for key in known if key.startswith(f"{group}.")}
    match = nearest(leaf, siblings) if group else None
    if match is not None:
        return f"did you mean {siblings[match]}?"
    if not group:  # a key of some group without the group's name
        leaves = {key.rsplit(".", 1)[-1]: key for key in list(known)[::-1]}
        match = nearest(name, known) or leaves.get(nearest(name, leaves) or "")
        return f"did you mean {match}?" if match else _all_of("", known)
    return _all_of(group, known) if siblings else did_you_mean(name, known, _all_of("", known))


def _all_of(group: str, known: Mapping[str, Key]) -> str:
    """The keys of a group; those outside of groups, and the groups, for ""."""
    start = f"{group}." if group else ""
    inside = [key.removeprefix(start) for key in known if key.startswith(start)]
    names = dict.fromkeys(key.split(".")[0] + ".*" * ("." in key) for key in inside)
    return f"keys{f' of {group}' * bool(group)}: {', '.join(names)}"


SEE_HELP = "see --help for every key"


def as_text(value: Any) -> str:
    """A value as typed on the command line."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(as_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True)
class Key:
    """Documentation of one key, for `--help` and error messages."""

    type: str
    interval: str
    doc: str

    def describe(self) -> str:
        return f"{self.type}{' in ' + self.interval if self.interval else ''}; {self.doc}"


def keys(cls: type, prefix: str = "") -> dict[str, Key]:
    """Every key of a schema by its dotted path, including nested schemas."""
    found: dict[str, Key] = {}
    for name, info in cls.__pydantic_fields__.items():  # type: ignore[attr-defined]
        path = f"{prefix}.{name}" if prefix else name
        if hasattr(info.annotation, "__pydantic_fields__"):
            found |= keys(info.annotation, path)
        else:
            written = (each.text for each in info.metadata if isinstance(each, TypeText))
            kind = next(written, None) or _type_name(info.annotation)
            found[path] = Key(kind, _interval(info), info.description or "")
    return found


def _type_name(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):  # Annotated[int, ...]
        return _type_name(annotation.__origin__)
    text = (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )
    if text.startswith("typing.Literal"):
        return " | ".join(str(choice) for choice in annotation.__args__)
    if text.startswith("dict"):
        return "mapping"
    if get_origin(annotation) in (tuple, list):
        return f"[{_type_name(annotation.__args__[0])}, ...]"
    if hasattr(annotation, "__args__"):
        return " | ".join(_type_name(part) for part in annotation.__args__)
    return "null" if text == "NoneType" else text


def _bound(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _interval(info: Any) -> str:
    low, high = "(-inf", "inf)"
    for bound in info.metadata:
        if hasattr(bound, "ge"):
            low = f"[{_bound(bound.ge)}"
        if hasattr(bound, "gt"):
            low = f"({_bound(bound.gt)}"
        if hasattr(bound, "le"):
            high = f"{_bound(bound.le)}]"
        if hasattr(bound, "lt"):
            high = f"{_bound(bound.lt)})"
    return "" if (low, high) == ("(-inf", "inf)") else f"{low}, {high}"
