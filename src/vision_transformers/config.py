"""Frozen dataclasses to JSON and back, strictly: an unknown key is an error that names the nearest one.

And how errors everywhere name what is known, or the first of many."""

import dataclasses
import difflib
import numbers
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vision_transformers.errors import Failure, UsageFailure

Config = TypeVar("Config")


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends an error about an unknown name: the nearest known one, whatever its capitals, or all of them."""
    known = list(known)
    uncapitalised = [one.casefold() for one in known]
    close = difflib.get_close_matches(name.casefold(), uncapitalised, n=1)
    if not close:
        return f"known are {', '.join(known)}"
    return f"did you mean {known[uncapitalised.index(close[0])]!r}?"


def check_known(what: str, word: str, known: Iterable[str]) -> None:
    """Refuses a word that is none of the known.

    Raises:
        UsageFailure: names the nearest.
    """
    known = list(known)
    if word not in known:
        raise UsageFailure(f"{what} is {word!r}: {nearest(str(word), known)}")


def first_of(names: Sequence[str], most: int = 5) -> str:
    """The first of these names, for a message, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def to_json(config: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Turns a dataclass, with what it holds, into dicts, lists and plain values.

    Paths become strings, and numbers of NumPy those of Python.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [to_json(item) for item in config]
    if isinstance(config, PurePath):
        return str(config)
    if isinstance(config, bool):
        return config
    if isinstance(config, numbers.Integral):
        return int(config)
    if isinstance(config, numbers.Real):
        return float(config)
    return config


def checked(config: Config) -> Config:
    """The same, made of plain values, as it will be read from a file again.

    Raises:
        UsageFailure: a value is of the wrong type, or none of the known ones, with its place.
    """
    return from_json(type(config), to_json(config))


def from_json(kind: type[Config], data: Any, where: str = "") -> Config:
    """Reads a dataclass of type `kind` from what `to_json` made.

    Raises:
        UsageFailure: an unknown or missing key, or a value of the wrong type, with its place.
    """
    if not isinstance(data, Mapping):
        raise UsageFailure(f"{where or kind.__name__} is {data!r}: expected an object with named fields")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UsageFailure(f"unknown field {_place(where, key)!r}: {nearest(key, fields)}")
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, _place(where, key)) for key, value in data.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageFailure(f"field {_place(where, name)!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise UsageFailure(f"{where or kind.__name__}: {error}") from error


def from_versioned_json(kind: type[Config], content: Any, file: Path, version: int) -> Config:
    """Reads what a file of this project holds: a dataclass, with a `format_version` beside its fields.

    Raises:
        Failure: the file is of another kind or of a later format, or a field is wrong.
    """
    found = content.get("format_version") if isinstance(content, Mapping) else None
    if found is None:
        raise Failure(f"{file} is of another kind than expected here: it has no format_version")
    if found != version:
        raise Failure(
            f"{file} has format version {found}; this release reads {version}: "
            "install a newer vision_transformers"
        )
    fields = {name: value for name, value in content.items() if name != "format_version"}
    try:
        return from_json(kind, fields)
    except UsageFailure as failure:
        raise Failure(f"{file}: {failure}") from failure


def flat(config: Any, where: str = "") -> dict[str, Any]:
    """A config, with those it holds, as one dict with dotted names."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), _place(where, field.name)
        values |= flat(value, name) if dataclasses.is_dataclass(value) else {name: value}
    return values


def differences(first: Any, second: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Lists every field whose value differs between two configs: its dotted name and both values."""
    if dataclasses.is_dataclass(first) and type(first) is type(second):
        return [
            difference
            for field in dataclasses.fields(first)
            for difference in differences(
                getattr(first, field.name), getattr(second, field.name), _place(where, field.name)
            )
        ]
    return [] if first == second else [(where, first, second)]


def _place(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 - one for each kind of type
    """One value of the type that `hint` says."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise UsageFailure(f"{where} is {value!r}: {nearest(str(value), map(str, get_args(hint)))}")
        return value
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UsageFailure(f"{where} is {value!r}: expected an object")
        return dict(value)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if hint is float and type(value) is int:
        return float(value)
    if hint is type(None) and value is None:
        return None
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise UsageFailure(f"{where} is {value!r}: expected {getattr(hint, '__name__', hint)}")


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    (hint,) = (hint for hint in hints if hint is not type(None))
    return _value(hint, value, where)


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageFailure(f"{where} is {value!r}: expected a list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise UsageFailure(f"{where} has {len(value)} values: expected {len(hints)}")
    return tuple(
        _value(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )
