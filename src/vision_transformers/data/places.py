"""Where data sets are looked for, and where downloads go."""

import os
from collections.abc import Iterable
from pathlib import Path

from vision_transformers.data.source import DataSource
from vision_transformers.errors import UsageFailure
from vision_transformers.files import cache_folder, expanded


def data_folders(source: DataSource) -> list[Path]:
    """Folders searched for known data sets, first one first.

    `source.root`, else $VISION_TRANSFORMERS_DATA; then the cache folder, which takes the downloads where
    the first cannot be written.
    """
    root = source.root or os.environ.get("VISION_TRANSFORMERS_DATA")
    if not root:
        return [cache_folder()]
    try:
        return [expanded(root), cache_folder()]
    except UsageFailure:  # there is no home for one, nor need of it
        return [expanded(root)]


def first_writable(folders: Iterable[Path]) -> Path | None:
    """The first of these folders that can be written into, made if it is missing."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # no place to write: the next may be one
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None
