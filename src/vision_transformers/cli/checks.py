"""What several commands ask of their options."""

import os
from pathlib import Path

from vision_transformers.errors import UsageFailure


def check_least(options: object, **least: int) -> None:
    """Compares options with the least that each may be.

    Raises:
        UsageFailure: names the first that is less.
    """
    for name, bound in least.items():
        if getattr(options, name) < bound:
            value = getattr(options, name)
            raise UsageFailure(f"--{name.replace('_', '-')} is {value}: expected {bound} or more")


def check_can_be_written(path: Path) -> None:
    """Whether a file of this name can be written, before anything is computed, which would be lost.

    Raises:
        UsageFailure: says why it cannot.
    """
    if not path.parent.is_dir():
        raise UsageFailure(f"there is no folder {path.parent} to write {path.name} into")
    if not os.access(path.parent, os.W_OK):
        raise UsageFailure(f"the folder {path.parent} may not be written: choose another one")
    if path.is_dir():
        raise UsageFailure(f"{path} is a folder: name a file to write")
