"""What a model has learned from before: in its run, and in the runs that this began with or learned from.

A test is only a test of images that none of them has seen.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vision_transformers.files import expanded
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.record import Record
from vision_transformers.training.run_folder import RunFolder, each_readable
from vision_transformers.weights.places import HUB

if TYPE_CHECKING:
    from vision_transformers.data.images import DataSets, Images

logger = logging.getLogger(__name__)


def run_of(model: Path) -> RunFolder | None:
    """The run that a path names, itself or by one of its models: RUN/checkpoints/step-N/model is deepest."""
    found = model.resolve()
    for path in (model, *found.parents[:3]):
        run = RunFolder(path)
        of_run = (path.resolve(), run.model.resolve())
        if run.is_begun and (found in of_run or found.is_relative_to(run.checkpoints.resolve())):
            return run
    return None


def records_before(recipe: Recipe, passed: frozenset[Path] = frozenset()) -> Iterator[tuple[str, Record]]:
    """The runs whose weights or answers a run has learned from, and those before them, while they are there.

    Args:
        recipe: of the run.
        passed: the folders of runs that come behind it, for paths may lead back to where they began.

    Returns:
        What the recipe calls each, and its record.
    """
    for source in (recipe.init, recipe.teacher.source):
        run = None if source is None or source.startswith(HUB) else run_of(expanded(source))
        if source is None or run is None or run.path.resolve() in passed:
            continue
        for _, record in each_readable([run], RunFolder.record):
            yield source, record
            yield from records_before(record.recipe, passed | {run.path.resolve()})


def warn_of_tests_that_were_learned_from(record: Record, data: "DataSets") -> None:
    """Tells a person who goes on with a model on images that were held out otherwise when it was trained."""
    split, judging = ("test", data.test) if data.test is not None else ("validation", data.validation)
    if judging is None:
        return
    for source, before in records_before(record.recipe):
        alike = are_held_out_alike(record, before)
        if not alike and may_have_learned_from(before, judging, record.recipe.data.name, split):
            logger.warning(
                "%s was trained on images of the same place, of which others were held out: it may have "
                "learned from some by which this run's %s accuracy is measured, which then flatters it. Keep "
                "images to judge by apart, in PATH/test",
                source,
                split,
            )


def are_held_out_alike(one: Record, other: Record) -> bool:
    """Whether two runs had the same images, and held out the same ones."""
    ours, theirs = one.recipe.data, other.recipe.data
    names = ("split_seed", "validation_fraction", "test_fraction")
    return one.images == other.images and all(getattr(ours, name) == getattr(theirs, name) for name in names)


def may_have_learned_from(record: Record, images: "Images", data: str, split: str) -> bool:
    """Whether a run learned from some of these images, as far as their names or places tell.

    Args:
        record: of a run that had other images, or held out others.
        images: what is judged by.
        data: the name of their data set.
        split: which part of it they are.
    """
    source = record.recipe.data
    if source.path is None:
        return source.name == data and not (split == "test" and source.has_test_of_its_own)
    learned = expanded(source.path).resolve()
    learned = learned / "train" if (learned / "train").is_dir() else learned
    return any(folder.is_relative_to(learned) for folder in _folders_of(images))


def _folders_of(images: "Images") -> set[Path]:
    """Where image files lie; nowhere, if they are held in memory."""
    from vision_transformers.data.images import ImageFiles

    paths = images.paths if isinstance(images, ImageFiles) else ()
    return {folder.resolve() for folder in {path.parent for path in paths}}
