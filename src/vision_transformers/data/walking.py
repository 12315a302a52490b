"""The files below a folder, in one order everywhere."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo"})
"""Of files that are taken for pictures, in lower case."""
_LEFT_BY_SYSTEMS = frozenset({"Thumbs.db", "__MACOSX"})
"""What Windows puts beside pictures, and macOS into zip files."""


def walk_files(folder: Path) -> Iterator[Path]:
    """All files below a folder as they come, sorted by the parts of their paths; hidden ones are left out.

    Links are followed, but no folder is entered twice; a link that leads nowhere is among them, since reading
    it says so. Only the names of the folders on the way are held.

    Raises:
        OSError: a folder cannot be listed.
    """
    return (path for path in walk_entries(folder) if not is_hidden(path.name))


def walk_entries(folder: Path) -> Iterator[Path]:
    """As `walk_files`, with what is hidden among them: files, and folders that are not entered.

    Raises:
        OSError: a folder cannot be listed.
    """
    return _walk(folder, set())


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    return path.suffix.lower() in EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether a person does not mean a file or folder of this name."""
    return name.startswith(".") or name in _LEFT_BY_SYSTEMS


def _walk(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path]:
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in entered:
        return
    entered.add((status.st_dev, status.st_ino))
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if is_hidden(name):
            yield path
            continue
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            yield path
        elif stat.S_ISDIR(mode):
            yield from _walk(path, entered)


def _mode(path: Path) -> int | None:
    """What a path leads to; None if nowhere."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return None
