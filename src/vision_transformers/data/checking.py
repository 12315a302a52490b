"""Every image file of a folder opened before training starts; what was seen once is not opened again."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_transformers.data.decoding import check_file
from vision_transformers.data.progress import telling
from vision_transformers.errors import DataFailure, Failure
from vision_transformers.files import cache_folder, read_json, write_json

NAMED = 5
"""How many of the files or folders that it is about a message names."""
MANY = 1000
"""From how many on it is told how far it is: a disk may take minutes."""

_logger = logging.getLogger(__name__)


def check_files(files: Sequence[Path], folder: Path) -> None:
    """Opens all image files below a folder, but those that have the size and time they had when last opened.

    Raises:
        DataFailure: some are no images, or broke off; the message has their number and names the first.
    """
    seen = _read(folder)
    stamps = {file: _stamp(file) for file in files}
    # A name need not be valid Unicode, but JSON must be.
    keys = {file: str(file.relative_to(folder)).encode(errors="backslashreplace").decode() for file in files}
    failures = _open([file for file in files if not stamps[file] or seen.get(keys[file]) != stamps[file]])
    checked = {keys[file]: stamps[file] for file in files if file not in failures}
    if checked != seen:
        _write(folder, checked)
    if failures:
        raise _summary(list(failures.values()), len(files))


def _open(files: Sequence[Path]) -> dict[Path, DataFailure]:
    """What is wrong with those of the files that are no images; of many, it says how far it is."""
    are_many = len(files) >= MANY
    if are_many:
        _logger.info("opening %s pictures, which is done once", f"{len(files):,}")
    failures: dict[Path, DataFailure] = {}
    for file in telling(iter(files), len(files)) if are_many else files:
        try:
            check_file(file)
        except DataFailure as failure:
            failures[file] = failure
    return failures


def _stamp(file: Path) -> list[int]:
    """What changes with a file's content; nothing for a link that leads nowhere, which cannot be opened."""
    try:
        status = file.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _cache(folder: Path) -> Path:
    return cache_folder() / f"checked-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.json"


def _read(folder: Path) -> dict[str, Any]:
    try:
        seen = read_json(_cache(folder))
    except (Failure, OSError):  # missing or broken, or there is no place for it: it is made again
        return {}
    return seen if isinstance(seen, dict) else {}


def _write(folder: Path, checked: dict[str, list[int]]) -> None:
    try:
        cache = _cache(folder)
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, checked)
    except (Failure, OSError) as error:
        _logger.warning("the next start opens all images again: %s", error)


def _summary(failures: Sequence[DataFailure], total: int) -> DataFailure:
    if len(failures) == 1:
        return failures[0]
    more = f"\nand {len(failures) - NAMED:,} more" if len(failures) > NAMED else ""
    named = "\n".join(str(failure) for failure in failures[:NAMED])
    return DataFailure(f"{len(failures):,} of {total:,} image files cannot be read:\n{named}{more}")
