"""Labelled images to judge a model by: a part of a data set, with the labels in the model's own order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from vision_transformers.config import first_of
from vision_transformers.data.folder import read_labelled_folder
from vision_transformers.data.images import DataSets, ImageFiles, Images, ImagesInMemory, joined
from vision_transformers.data.loading import load_data
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataName, DataSource
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.files import expanded

NAMED_CLASSES = 12
"""How many classes an error names of each side."""


@dataclass(frozen=True)
class Labelled:
    """The parts of a data set; what a run learned from is known where it is the run's own."""

    name: str
    """What the person calls it."""
    parts: dict[str, Images]
    """By split, without `all`; a folder that has classes and no parts is one part called `all`."""
    classes: tuple[str, ...]
    description: str
    is_of_run: bool
    """Whether these are the very images, split alike, that the model's run had."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        return tuple(dict.fromkeys((*self.parts, "all")))

    def split(self, name: str) -> Images:
        """The images of one split.

        Raises:
            UsageFailure: there is none of that name; names those there are.
        """
        if name in self.parts:
            return self.parts[name]
        if name != "all":
            raise UsageFailure(
                f"{self.name} has no split {name!r}: choose --split from {', '.join(self.splits)}"
            )
        return _together(list(self.parts.values()))


def is_known(data: str) -> bool:
    """Whether this is the name of a data set, and no path."""
    return data in get_args(DataName) and data != "folder"


def load_labelled(
    data: str, preprocessing: Preprocessing, root: str | None, of_run: DataSource | None, listing: str | None
) -> Labelled:
    """Finds a data set that a model is to be judged by.

    Args:
        data: a known name, or a folder of pictures.
        preprocessing: the model's.
        root: folder with the files of known data sets; None for the usual places.
        of_run: what the model was trained on, where that is known; its own data set is split as it was.
        listing: the hash of the images that it was trained on, where that is known.

    Raises:
        UsageFailure: there is neither a data set nor a folder of that name.
        DataFailure: the images are missing or damaged.
    """
    if is_known(data):
        is_named_so = of_run is not None and of_run.name == data
        source = replace(of_run, root=root or of_run.root) if of_run is not None and is_named_so else None
        sets = load_data(source or DataSource(name=data, root=root), preprocessing)  # type: ignore[arg-type]
        is_of_run = is_named_so and sets.listing == listing
        return Labelled(data, _parts(sets), sets.classes, sets.description, is_of_run)
    folder = expanded(data)
    if not folder.is_dir():
        known = ", ".join(name for name in get_args(DataName) if name != "folder")
        raise UsageFailure(f"there is no folder {data}, and no data set of that name: known are {known}")
    name = folder.resolve().name
    own = _of_run(folder, preprocessing, of_run, listing)
    if own is not None:
        return Labelled(name, _parts(own), own.classes, own.description, True)
    parts, classes, description = read_labelled_folder(folder)
    return Labelled(name, dict(parts), classes, description, False)


def in_order_of(labelled: Labelled, images: Images, classes: Sequence[str]) -> Images:
    """The images with their labels as places among a model's classes, found by name.

    Raises:
        DataFailure: the model does not know a class; names both lists.
    """
    unknown = [name for name in labelled.classes if name not in classes]
    if unknown:
        raise DataFailure(
            f"the model does not know {some_of(unknown)}, so that its guesses cannot be judged.\n"
            f"  classes of {labelled.name}: {some_of(labelled.classes)}\n"
            f"  classes of the model: {some_of(classes)}"
        )
    places = torch.tensor([classes.index(name) for name in labelled.classes])
    return replace(images, labels=places.to(images.labels.device)[images.labels])


def _of_run(
    folder: Path, preprocessing: Preprocessing, of_run: DataSource | None, listing: str | None
) -> DataSets | None:
    """The data set of the run, if this folder is it."""
    if of_run is None or of_run.name != "folder":
        return None
    try:
        sets = load_data(replace(of_run, path=str(folder)), preprocessing)
    except DataFailure:
        return None  # whatever is wrong with it is met again, and said, where it is read as it stands
    return sets if sets.listing == listing else None


def _parts(sets: DataSets) -> dict[str, Images]:
    found = {"test": sets.test, "validation": sets.validation, "train": sets.train}
    return {name: images for name, images in found.items() if images is not None}


def _together(parts: list[Images]) -> Images:
    files = [part for part in parts if isinstance(part, ImageFiles)]
    if files:
        return ImageFiles(
            tuple(path for part in files for path in part.paths), torch.cat([part.labels for part in files])
        )
    return joined([part for part in parts if isinstance(part, ImagesInMemory)])


def some_of(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    return first_of([repr(name) for name in names], NAMED_CLASSES)
