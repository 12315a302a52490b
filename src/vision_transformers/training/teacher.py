"""A trained model that another one learns from: what it says of the images that the other one sees."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.classifier import Classifier, load
from vision_transformers.data.labelled import some_of
from vision_transformers.data.normalising import for_another
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.runtime.precision import ResolvedPrecision, autocast
from vision_transformers.training.recipe import Recipe
from vision_transformers.weights.digest import sha256_of
from vision_transformers.weights.model_folder import NotNative, description_to_json


class TrainedTeacher(nn.Module):
    """Says, without learning, what it makes of a student's images (consistent teaching, arXiv 2106.05237).

    Args:
        classifier: the model.
        classes: the student's, each of which the model knows.
        preprocessing: the student's.
    """

    def __init__(self, classifier: Classifier, classes: Sequence[str], preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = classifier.model.requires_grad_(False)
        self.description = classifier.description
        self.preprocessing = preprocessing
        places = torch.tensor([classifier.classes.index(name) for name in classes])
        self.register_buffer("places", places, persistent=False)
        self.places: Tensor

    @property
    def fingerprint(self) -> str:
        """The hash of all that decides what it says: weights, architecture, preprocessing and classes."""
        decides = replace(self.description, training={}, temperature=None)
        told = json.dumps(description_to_json(decides), sort_keys=True)
        return hashlib.sha256(f"{sha256_of(self.model.state_dict())} {told}".encode()).hexdigest()

    @torch.no_grad()
    def forward(
        self, images: Float[Tensor, "batch channels height width"], precision: ResolvedPrecision
    ) -> Float[Tensor, "batch classes"]:
        """Its logits of the student's classes.

        Args:
            images: as the student sees them: normalised, varied and mixed.
            precision: of the matrix products.
        """
        seen = for_another(images, self.preprocessing, self.description.preprocessing)
        with autocast(precision, images.device):
            logits = self.model(seen)
        return logits[:, self.places]


def load_teacher(recipe: Recipe, classes: Sequence[str]) -> TrainedTeacher | None:
    """The recipe's teacher of these classes, on the CPU; None where it has none.

    Raises:
        UsageFailure: there is no such model, or it does not know a class.
        Failure: its files are damaged, or name more or fewer classes than it has.
    """
    source = recipe.teacher.source
    if source is None:
        return None
    try:
        classifier = load(source, device="cpu")
    except NotNative as failure:
        raise UsageFailure(
            f"the teacher cannot be loaded: {failure.why}, and a teacher is a run or a model folder. Another "
            f"library's files become one with {failure.conversion}: then give --teacher.source NEW"
        ) from failure
    except UsageFailure as failure:
        raise UsageFailure(
            f"the teacher cannot be loaded: {failure}. Give another --teacher.source"
        ) from failure
    _check(classifier, source, classes)
    return TrainedTeacher(classifier, classes, recipe.preprocessing)


def fingerprint_of(teacher: TrainedTeacher | None) -> str | None:
    """That of the teacher, where there is one."""
    return None if teacher is None else teacher.fingerprint


def _check(classifier: Classifier, source: str, classes: Sequence[str]) -> None:
    if not classifier.classes:
        raise UsageFailure(
            f"the teacher {source} has no classification head, so that it says nothing to learn from: "
            "give another --teacher.source"
        )
    unknown = [name for name in classes if name not in classifier.classes]
    if unknown:
        raise UsageFailure(
            f"the teacher {source} does not know {some_of(unknown)}: give a --teacher.source that was "
            "trained on all classes of the data, under the same names.\n"
            f"  classes of the data: {some_of(classes)}\n"
            f"  classes of the teacher: {some_of(classifier.classes)}"
        )
