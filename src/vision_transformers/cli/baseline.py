"""`vit evaluate --baseline OTHER`: another model, judged by the very same images."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vision_transformers.cli.subject import Subject, find_model, find_subject
from vision_transformers.data.images import ImageFiles
from vision_transformers.data.labelled import in_order_of
from vision_transformers.errors import UsageFailure
from vision_transformers.evaluation.judgement import Judgement
from vision_transformers.evaluation.paired import PairedAccuracy
from vision_transformers.evaluation.scores import share
from vision_transformers.prediction import Guess
from vision_transformers.runtime.precision import ResolvedPrecision
from vision_transformers.training.lineage import are_held_out_alike


@dataclass(frozen=True)
class JudgedBaseline:
    """What another model gives for the same images, in their order."""

    name: str
    classes: tuple[str, ...]
    """Its own, in its own order."""
    judgement: Judgement
    was_learned_from: bool
    """Whether it was trained on some of the images."""

    def guess(self, place: int) -> Guess:
        """The likeliest class of one image."""
        return self.judgement.guess(place, self.classes)

    def beside(self, judgement: Judgement) -> dict[str, Any]:
        """Plain values for `metrics.json`: how much better the other judgement is, and how sure that is."""
        paired = PairedAccuracy.of(judgement.is_right, self.judgement.is_right)
        lower, upper = paired.interval
        result = {
            "model": self.name,
            "top_1": share(paired.both + paired.lost, paired.images),
            "both_right": paired.both,
            "gained": paired.gained,
            "lost": paired.lost,
            "neither_right": paired.neither,
            "difference": {"accuracy": paired.difference, "lower": lower, "upper": upper},
            "p_value": paired.p_value,
        }
        if self.was_learned_from:
            result["warning"] = "The baseline was trained on some of these images: the numbers flatter it."
        return result


def find_baseline(subject: Subject, data: str, data_root: str | None, model: Path) -> Subject:
    """The other model, with the images that the subject is judged by, in their order.

    Args:
        subject: what is judged beside it.
        data: what the subject is judged by, as the person calls it.
        data_root: where the files of a known data set lie.
        model: the other's run or folder.

    Raises:
        UsageFailure: there is no such model, or its run has split the images otherwise.
        DataFailure: it does not know one of the classes.
    """
    device, precision = str(subject.classifier.device), subject.classifier.precision
    if isinstance(subject.images, ImageFiles):
        return _of_the_same_files(subject, model, device, precision)
    other = find_subject(model, data, subject.split, data_root, device, precision)
    places = {other.images.name(place): place for place in range(len(other.images))}
    names = [subject.images.name(place) for place in range(len(subject.images))]
    if places.keys() != set(names):
        raise UsageFailure(
            f"{model} would be judged by other images of {data} than {subject.model}: their runs have parted "
            "them otherwise. Choose another --split"
        )
    same = torch.tensor([places[name] for name in names])
    return replace(other, images=other.images.select(same))


def _of_the_same_files(subject: Subject, path: Path, device: str, precision: ResolvedPrecision) -> Subject:
    """Files are decoded for each model as it wants them, so that any model can be asked about them."""
    path, run, record, classifier = find_model(path, device, precision)
    alike = record is not None and subject.record is not None and are_held_out_alike(record, subject.record)
    labelled = replace(subject.labelled, is_of_run=subject.labelled.is_of_run and alike)
    images = in_order_of(labelled, labelled.split(subject.split), classifier.classes, str(path))
    return Subject(path, run, record, classifier, labelled, subject.split, subject.folder, images)


def judged(baseline: Subject, name: str, judgement: Judgement) -> JudgedBaseline:
    """What is known of it once it was asked."""
    return JudgedBaseline(name, baseline.classifier.classes, judgement, baseline.was_learned_from)
