"""Data sets that torchvision reads: found in the data folders, or else downloaded."""

import logging
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torchvision.datasets import CIFAR10, MNIST

from vision_transformers.data.places import first_writable
from vision_transformers.errors import DataFailure

Published = type[MNIST] | type[CIFAR10]

_logger = logging.getLogger(__name__)


def find(files: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first folder that has all these files."""
    return next((folder for folder in folders if all((folder / file).is_file() for file in files)), None)


def download(kind: Published, files: Sequence[str], folders: Sequence[Path]) -> Path:
    """Downloads a data set into the first folder that can be written, and checks its checksums.

    Raises:
        DataFailure: that failed; the message names the files to put there by hand.
    """
    folder = first_writable(folders)
    places = " or ".join(map(str, folders))
    by_hand = (
        f"put these files into {places}, or name their folder (--data.root of vit train, --data-root of "
        f"vit evaluate): {', '.join(files)}"
    )
    if folder is None:
        raise DataFailure(
            f"{kind.__name__} is missing, and {places} cannot be written to download it: {by_hand}"
        )
    _logger.info("downloading %s into %s", kind.__name__, folder)
    try:
        kind(folder, download=True)
    except (OSError, HTTPException, RuntimeError) as error:
        cause = " ".join(str(error).split())
        raise DataFailure(
            f"{kind.__name__} is missing and cannot be downloaded ({cause}): {by_hand}"
        ) from error
    return folder


def read(kind: Published, folder: Path) -> tuple[Any, Any]:
    """Torchvision's train and test data sets out of a folder that has their files.

    Raises:
        DataFailure: a file is damaged.
    """
    try:
        return kind(folder, train=True), kind(folder, train=False)
    except Exception as error:  # a parser meets broken bytes with any exception there is
        raise DataFailure(
            f"the files of {kind.__name__} in {folder} are damaged ({str(error) or type(error).__name__}): "
            "delete them, then they are downloaded again"
        ) from error
