"""A classifier's outputs for labelled images, in their order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vision_transformers.classifier import BATCH_SIZE, Classifier
from vision_transformers.data.batches import evaluation_batches
from vision_transformers.data.images import Images
from vision_transformers.evaluation.sums import EvaluationSums
from vision_transformers.prediction import Guess


@dataclass(frozen=True)
class Judgement:
    """What a classifier gives for each image, and what it sums up to."""

    probabilities: Float[Tensor, "images classes"]
    """At the classifier's temperature, where it has one."""
    labels: Int[Tensor, " images"]
    sums: EvaluationSums
    images_per_second: float
    """Without the first batch, which warms up, where there is another."""

    @property
    def is_right(self) -> Bool[Tensor, " images"]:
        """Whether the likeliest class is the label."""
        return self.probabilities.argmax(dim=1) == self.labels

    @property
    def probability_of_label(self) -> Float[Tensor, " images"]:
        """What each image's label was given, 0 to 1."""
        return self.probabilities.gather(1, self.labels[:, None]).squeeze(1)

    def guess(self, place: int, classes: Sequence[str]) -> Guess:
        """The likeliest class of one image."""
        probability, index = self.probabilities[place].max(dim=0)
        return Guess(classes[int(index)], int(index), float(probability))


def judge(
    classifier: Classifier, images: Images, batch_size: int = BATCH_SIZE, workers: int = 0
) -> Judgement:
    """Asks a classifier about every image; the probabilities are those of `vit predict`, to the bit.

    Args:
        classifier: whose classes the labels count.
        images: with labels.
        batch_size: images that are computed together, at most.
        workers: processes that decode files; 0 decodes in this one.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    probabilities, labels = [], []
    total: EvaluationSums | None = None
    # As the classifier, which computes no more than there is; all batches of evaluation are of one size.
    batch_size = min(batch_size, len(images)) or 1
    begun = time.monotonic()
    first = 0.0
    for batch in evaluation_batches(images, classifier.preprocessing, batch_size, classifier.device, workers):
        logits = classifier.logits(batch.images)
        valid = batch.valid.cpu()
        logits, truth = logits.cpu()[valid], batch.labels.cpu()[valid]
        sums = EvaluationSums.of(logits, truth, classifier.description.temperature)
        total = sums if total is None else total + sums
        probabilities.append(classifier.probabilities(logits))
        labels.append(truth)
        first = first or time.monotonic() - begun
    if total is None:
        raise ValueError("there are no images to judge")
    rest = len(images) - len(labels[0])
    seconds = time.monotonic() - begun
    pace = rest / (seconds - first) if rest else len(images) / seconds
    return Judgement(torch.cat(probabilities), torch.cat(labels), total, pace)
