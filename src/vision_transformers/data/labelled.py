"""Labelled images to judge a model by: a part of a data set, with the labels in the model's own order."""

import logging
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

logger = logging.getLogger(__name__)

NAMED_CLASSES = 12
"""How many classes an error names of each side."""


@dataclass(frozen=True)
class LearnedFrom:
    """The images that a run had, as far as it noted them."""

    source: DataSource
    listing: str
    """The hash of their names and labels."""
    fingerprint: str
    """The hash of what they are; of files, their names and sizes."""


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
    data: str, preprocessing: Preprocessing, root: str | None, learned_from: LearnedFrom | None
) -> Labelled:
    """Finds a data set that a model is to be judged by.

    Args:
        data: a known name, or a folder of pictures.
        preprocessing: the model's.
        root: folder with the files of known data sets; None for the usual places.
        learned_from: what the model was trained on, where that is known; it is split as it was.

    Raises:
        UsageFailure: there is neither a data set nor a folder of that name.
        DataFailure: the images are missing or damaged.
    """
    if is_known(data):
        source = DataSource(name=data, root=root)  # type: ignore[arg-type]
        own = learned_from if learned_from is not None and learned_from.source.name == data else None
        if own is not None:
            source = replace(own.source, root=root or own.source.root)
        sets = load_data(source, preprocessing)
        is_of_run = own is not None and sets.listing == own.listing
        return Labelled(data, _parts(sets), sets.classes, sets.description, is_of_run)
    folder = expanded(data)
    if not folder.is_dir():
        known = ", ".join(name for name in get_args(DataName) if name != "folder")
        raise UsageFailure(f"there is no folder {data}, and no data set of that name: known are {known}")
    name = folder.resolve().name
    of_run = _of_run(folder, preprocessing, learned_from)
    if of_run is not None:
        return Labelled(name, _parts(of_run), of_run.classes, of_run.description, True)
    parts, classes, description = read_labelled_folder(folder)
    return Labelled(name, dict(parts), classes, description, False)


def in_order_of(
    labelled: Labelled, images: Images, classes: Sequence[str], model: str = "the model"
) -> Images:
    """The images with their labels as places among a model's classes, found by name.

    Args:
        labelled: the data set that they are a part of.
        images: with labels as places among its classes.
        classes: of the model.
        model: what a message calls it.

    Raises:
        DataFailure: the model does not know a class, and both lists are named; or knows it twice.
    """
    unknown = [name for name in labelled.classes if name not in classes]
    if unknown:
        raise DataFailure(
            f"{model} does not know {some_of(unknown)}, so that its guesses cannot be judged.\n"
            f"  classes of {labelled.name}: {some_of(labelled.classes)}\n"
            f"  classes of {model}: {some_of(classes)}"
        )
    twice = [name for name in labelled.classes if classes.count(name) > 1]
    if twice:
        raise DataFailure(
            f"{model} has two classes of one name, {some_of(twice)}, so that nobody knows which is meant: "
            "give it others with `vit convert --classes FILE`"
        )
    places = torch.tensor([classes.index(name) for name in labelled.classes])
    return replace(images, labels=places.to(images.labels.device)[images.labels])


def _of_run(folder: Path, preprocessing: Preprocessing, learned_from: LearnedFrom | None) -> DataSets | None:
    """The data set of the run, if this folder is it: other pictures may be numbered like those."""
    if learned_from is None or learned_from.source.name != "folder":
        return None
    try:
        sets = load_data(replace(learned_from.source, path=str(folder)), preprocessing)
    except DataFailure:
        return None  # whatever is wrong with it is met again, and said, where it is read as it stands
    if sets.listing != learned_from.listing:
        return None
    is_where_it_was = folder.resolve() == Path(str(learned_from.source.path))
    if is_where_it_was or sets.fingerprint == learned_from.fingerprint:
        return sets
    logger.warning(
        "%s has pictures of the run's names, but of other sizes: it is taken for another folder", folder
    )
    return None


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
