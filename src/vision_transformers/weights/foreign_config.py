"""What the JSON beside somebody's weights says: every value is checked as it is read."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from vision_transformers.config import nearest
from vision_transformers.errors import Failure

Meaning = TypeVar("Meaning")


class ForeignConfig:
    """A JSON file of another project, or an object inside it; null is as if the name were not there.

    Every reading method takes a name and what to answer where it is not there; without such an answer
    it has to be there.

    Args:
        content: what the file holds, or {} where there is no file.
        place: what errors call it, such as the file's path.

    Raises:
        Failure: also by all methods: a value is missing or of another kind; says its place.
    """

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, Mapping):
            raise Failure(f"{place} is {_shown(content)}: expected an object with named values")
        self._content = {name: value for name, value in content.items() if value is not None}
        self._place = place

    def __bool__(self) -> bool:
        return bool(self._content)

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def part(self, name: str) -> "ForeignConfig":
        """An object inside, or one that says nothing."""
        return ForeignConfig(self._content.get(name, {}), f"{self._place}: {name}")

    def holds_part(self, name: str) -> bool:
        """Whether an object lies there."""
        return isinstance(self._content.get(name), Mapping)

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._value(name, default)
        return value if isinstance(value, str) else self._refuse(name, "a text")

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._value(name, default)
        return value if isinstance(value, bool) else self._refuse(name, "true or false")

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number, 1 or more."""
        value = self._value(name, default)
        return value if _is_count(value) else self._refuse(name, "a whole number above 0")

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self._value(name, default)
        return float(value) if _is_number(value) and value > 0 else self._refuse(name, "a number above 0")

    def numbers(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """A list of numbers."""
        value = self._value(name, default)
        if not isinstance(value, list | tuple) or not all(map(_is_number, value)):
            return self._refuse(name, "a list of numbers")
        return tuple(map(float, value))

    def pair(self, name: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns: two whole numbers, or one for both; 1 or more."""
        value = self._value(name, default)
        match (value, value) if isinstance(value, int) else value:
            case [rows, columns] if _is_count(rows) and _is_count(columns):
                return rows, columns
        return self._refuse(name, "a whole number above 0, or two")

    def choice(self, name: str, known: Mapping[Any, Meaning], default: str | int | None = None) -> Meaning:
        """What one of some known words or numbers means."""
        value = self._value(name, default)
        if not isinstance(value, str | int):
            return self._refuse(name, "one word or number")
        if value not in known:
            raise Failure(
                f"{self._place}: {name} is {value!r}, which is not known here: "
                f"{nearest(str(value), map(str, known))}"
            )
        return known[value]

    def names(self, name: str) -> tuple[str, ...]:
        """A list of texts, or an object that has them by their places; () where there is none."""
        value = self._content.get(name, [])
        if isinstance(value, Mapping):
            if not all(place.isdecimal() for place in value):
                return self._refuse(name, "names by their places, from 0")
            value = [value[place] for place in sorted(value, key=int)]
        if not isinstance(value, list):
            return self._refuse(name, "a list of names")
        return tuple(map(str, value))

    def _value(self, name: str, default: Any) -> Any:
        value = self._content.get(name, default)
        if value is None:
            raise Failure(f"{self._place}: {name} is missing")
        return value

    def _refuse(self, name: str, expected: str) -> Any:
        raise Failure(f"{self._place}: {name} is {_shown(self._content[name])}: expected {expected}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    """A value as an error shows it: no longer than a line."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
