"""What `vit evaluate` judges: a model, by which images, and whether the numbers may be believed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vision_transformers.config import first_of
from vision_transformers.errors import UsageFailure
from vision_transformers.files import expanded
from vision_transformers.training.lineage import (
    are_held_out_alike,
    may_have_learned_from,
    records_before,
    run_of,
)
from vision_transformers.training.record import Record
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.weights.places import local_path

if TYPE_CHECKING:
    from vision_transformers.classifier import Classifier
    from vision_transformers.data.images import Images
    from vision_transformers.data.labelled import Labelled
    from vision_transformers.runtime.precision import ResolvedPrecision

Split = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True)
class Subject:
    """What is judged, by which images."""

    model: Path
    """Where it lies; of one on the Hub, what was downloaded."""
    run: RunFolder | None
    """Where it lies, as its finished model or one of its checkpoints."""
    record: Record | None
    classifier: "Classifier"
    labelled: "Labelled"
    split: Split
    folder: Path
    """Where these lie, if they are no known data set."""
    images: "Images"
    """Of the split, with labels as places among the classifier's classes."""

    @property
    def places(self) -> dict[str, str]:
        """Where images and model lie, for any working folder; of a known data set, its name.

        A run holds the evaluations of its finished model, and may be moved with them: it is left out.
        """
        from vision_transformers.data.labelled import is_known

        data = self.labelled.name if is_known(str(self.folder)) else str(self.folder.resolve())
        return {"data": data} if self.is_finished_run else {"data": data, "model": str(self.model.resolve())}

    @property
    def is_finished_run(self) -> bool:
        """Whether the model is the one that its run ended with, and none of the checkpoints."""
        found = self.model.resolve()
        return self.run is not None and found in (self.run.path.resolve(), self.run.model.resolve())

    @property
    def warning(self) -> str | None:
        """Why the numbers may not be believed."""
        warnings = []
        if self.was_learned_from:
            warnings.append("The model was trained on some of these images: the numbers flatter it.")
        there = set(self.images.labels.tolist())
        classes = self.classifier.classes
        missing = [name for place, name in enumerate(classes) if place not in there]
        if missing:
            warnings.append(
                f"{len(missing)} of {len(classes)} classes have no images here: {first_of(missing)}."
            )
        return " ".join(warnings) or None

    @property
    def was_learned_from(self) -> bool:
        """Whether the run, or one before it, learned from some of the images, as far as anything tells."""
        return self.record is not None and any(
            self._has_learned(record)
            for record in (self.record, *(before for _, before in records_before(self.record.recipe)))
        )

    def _has_learned(self, record: Record) -> bool:
        """Whether a run did: this one, or one that it began with."""
        assert self.record is not None
        if self.labelled.is_of_run and are_held_out_alike(record, self.record):
            return self.split in ("train", "all")
        return may_have_learned_from(record, self.images, self.labelled.name, self.split)


def find_subject(
    model: Path,
    data: str,
    split: Split | None,
    data_root: str | None,
    device: str,
    precision: "ResolvedPrecision",
) -> Subject:
    """Loads the model, finds the images, and meets what makes no sense before anything is computed.

    Args:
        model: a run, a model folder, or one of a run's checkpoints.
        data: a known data set, or a folder of images.
        split: which part; if not given, test, else validation, else all.
        data_root: where the files of a known data set lie, if not where the run found them.
        device: where the model computes.
        precision: of its matrix products.

    Raises:
        UsageFailure: there is no such model or part, or the model guesses nothing.
        DataFailure: the images cannot be used as they are.
    """
    from vision_transformers.data.labelled import LearnedFrom, in_order_of, load_labelled

    model, run, record, classifier = find_model(model, device, precision)
    learned_from = None
    if record is not None:
        learned_from = LearnedFrom(record.recipe.data, record.images, record.environments[-1].data)
    labelled = load_labelled(data, classifier.preprocessing, data_root, learned_from)
    split = split or _held_out(labelled)
    images = in_order_of(labelled, labelled.split(split), classifier.classes, str(model))
    return Subject(model, run, record, classifier, labelled, split, expanded(data), images)


def find_model(
    model: Path, device: str, precision: "ResolvedPrecision"
) -> tuple[Path, RunFolder | None, Record | None, "Classifier"]:
    """Where a model lies, the run that it is of, what that was asked for, and the model itself.

    Raises:
        UsageFailure: there is no such model, or it guesses nothing.
    """
    from vision_transformers.classifier import load

    path = local_path(str(model))
    run = run_of(path)
    record = run.record() if run is not None else None
    classifier = load(path, device=device, precision=precision)
    if not classifier.classes:
        raise UsageFailure(f"{path} has no classification head, so that it guesses nothing to judge")
    return path, run, record, classifier


def _held_out(labelled: "Labelled") -> Split:
    """The part that says most about a model; all of a folder where none is held out."""
    held_out: tuple[Split, ...] = ("test", "validation")
    return next((part for part in held_out if part in labelled.parts), "all")
