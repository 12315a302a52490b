"""What `vit evaluate` judges: a model, by which images, and whether the numbers may be believed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vision_transformers.config import first_of
from vision_transformers.errors import UsageFailure
from vision_transformers.files import expanded
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
        """Whether the run learned from some of the images, as far as their names or places tell."""
        if self.labelled.is_of_run:
            return self.split in ("train", "all")
        if self.record is None:
            return False
        source = self.record.recipe.data
        if source.path is None:  # in another form, only the test images are held out for sure
            return source.name == self.labelled.name and self.split != "test"
        learned = expanded(source.path).resolve()
        learned = learned / "train" if (learned / "train").is_dir() else learned
        return any(folder.is_relative_to(learned) for folder in _folders_of(self.images))


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
    from vision_transformers.classifier import load
    from vision_transformers.data.labelled import LearnedFrom, in_order_of, load_labelled

    model = local_path(str(model))
    run = _run_of(model)
    record = run.record() if run is not None else None
    classifier = load(model, device=device, precision=precision)
    if not classifier.classes:
        raise UsageFailure(f"{model} has no classification head, so that it guesses nothing to judge")
    learned_from = None
    if record is not None:
        learned_from = LearnedFrom(record.recipe.data, record.images, record.environments[-1].data)
    labelled = load_labelled(data, classifier.preprocessing, data_root, learned_from)
    split = split or _held_out(labelled)
    images = in_order_of(labelled, labelled.split(split), classifier.classes, str(model))
    return Subject(model, run, record, classifier, labelled, split, expanded(data), images)


def _held_out(labelled: "Labelled") -> Split:
    """The part that says most about a model; all of a folder where none is held out."""
    held_out: tuple[Split, ...] = ("test", "validation")
    return next((part for part in held_out if part in labelled.parts), "all")


def _run_of(model: Path) -> RunFolder | None:
    """The run that a path names, itself or by one of its models: RUN/checkpoints/step-N/model is deepest."""
    found = model.resolve()
    for path in (model, *found.parents[:3]):
        run = RunFolder(path)
        of_run = (path.resolve(), run.model.resolve())
        if run.is_begun and (found in of_run or found.is_relative_to(run.checkpoints.resolve())):
            return run
    return None


def _folders_of(images: "Images") -> set[Path]:
    """Where image files lie; nowhere, if they are held in memory."""
    from vision_transformers.data.images import ImageFiles

    paths = images.paths if isinstance(images, ImageFiles) else ()
    return {folder.resolve() for folder in {path.parent for path in paths}}
