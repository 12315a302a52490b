"""The pictures that a person names: files, folders, globs, and lists on standard input."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

from vision_transformers.data.walking import is_picture, walk_files
from vision_transformers.errors import DataFailure

STANDARD_INPUT = "-"


@runtime_checkable
class ByteStream(Protocol):
    """What names are read from, such as standard input."""

    def read(self, size: int, /) -> bytes: ...

    def __iter__(self) -> Iterator[bytes]: ...


def find_pictures(
    arguments: Sequence[str], standard_input: ByteStream, separator: bytes = b"\n"
) -> Iterator[Path]:
    """The pictures in the order of the arguments; inside a folder, and of a glob, sorted.

    Args:
        arguments: a file, whatever it is called; a folder, for the pictures anywhere below it; a glob, with
            `**` for any folders; or `-` for a list on standard input.
        standard_input: paths of files and folders, no globs, each ended by the separator; bytes as the system
            has them.
        separator: a newline, or the zero byte that `find -print0` writes.

    Returns:
        The paths as they come: nothing is held but the names in one folder. One that does not exist is among
        them, since reading it says so.

    Raises:
        DataFailure: a folder or a glob has no pictures, known before the first path is asked for; or there
            is none at all, known at the end of standard input.
    """
    for argument in arguments:
        if argument != STANDARD_INPUT:
            _check_that_there_are_some(argument)
    parts = (
        chain.from_iterable(map(_of_path, _listed(standard_input, separator)))
        if argument == STANDARD_INPUT
        else _of_argument(argument)
        for argument in arguments
    )
    return _at_least_one(chain.from_iterable(parts))


def _at_least_one(paths: Iterator[Path]) -> Iterator[Path]:
    there_are_some = False
    for path in paths:
        there_are_some = True
        yield path
    if not there_are_some:
        raise DataFailure("standard input named no pictures: check what writes the list")


def _check_that_there_are_some(argument: str) -> None:
    """Looks for one picture; a path that does not exist is met when it is read."""
    if next(_of_argument(argument), None) is None:
        kind = "the folder" if os.path.isdir(argument) else "the pattern"
        raise DataFailure(f"{kind} {argument} has no pictures: check the path")


def _of_argument(argument: str) -> Iterator[Path]:
    if os.path.lexists(argument) or not glob.has_magic(argument):
        yield from _of_path(argument)
        return
    for found in sorted(Path(match) for match in glob.iglob(argument, recursive=True)):
        if is_picture(found) and (os.path.isfile(found) or not os.path.exists(found)):
            yield found


def _of_path(name: str) -> Iterator[Path]:
    path = Path(name)
    if os.path.isdir(path):  # a name that no file can have is left for its reader to say
        yield from _below(path)
    else:
        yield path


def _below(folder: Path) -> Iterator[Path]:
    try:
        yield from filter(is_picture, walk_files(folder))
    except OSError as error:
        raise DataFailure(f"{error.filename} cannot be listed: {error.strerror}") from error


def _listed(standard_input: ByteStream, separator: bytes) -> Iterator[str]:
    """Names as they arrive; an empty one is no name."""
    return (os.fsdecode(name) for name in _parts(standard_input, separator) if name)


def _parts(stream: ByteStream, separator: bytes) -> Iterable[bytes]:
    if separator == b"\n":
        yield from (line.removesuffix(b"\n") for line in stream)
        return
    rest = b""
    while block := stream.read(1 << 16):
        *whole, rest = (rest + block).split(separator)
        yield from whole
    yield rest
