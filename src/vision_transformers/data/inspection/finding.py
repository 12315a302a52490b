"""Something to know about a folder of pictures, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One thing that a finding is about."""

    paths: tuple[Path, ...]
    """A file or folder; of copies, all of them."""
    reason: str = ""
    """What is to be said of it alone."""
    are_equal: bool = True
    """Of several files, whether they show the same to the last pixel."""


@dataclass(frozen=True)
class Finding:
    """What is known of some of the pictures."""

    kind: str
    """Its name, for programs."""
    is_problem: bool
    """Whether it stops a training, or makes its numbers untrue."""
    summary: str
    remedy: str
    items: tuple[Item, ...] = ()


def items_of(paths: Iterable[Path]) -> tuple[Item, ...]:
    """An item for each path, of which there is nothing more to say."""
    return tuple(Item((path,)) for path in paths)


def counted(count: int, one: str, more: str) -> str:
    """A number of things, such as `1 picture` and `2,000 pictures`."""
    return f"1 {one}" if count == 1 else f"{count:,} {more}"


def pictures(count: int) -> str:
    """A number of pictures."""
    return counted(count, "picture", "pictures")
