"""What is minimised."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Objective(Protocol):
    """The loss of a batch."""

    def targets(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """Labels as probabilities, so that mixing images can mix them too."""

    def __call__(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Float[Tensor, "batch classes"],
        images: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, ""]:
        """The mean loss of these images, in float32.

        Args:
            logits: what the model says of them.
            targets: what their labels say.
            images: what the model saw: normalised, varied and mixed.
        """


class CrossEntropy:
    """Cross-entropy with label smoothing and class weights, averaged over images.

    Args:
        number_of_classes: width of the logits.
        label_smoothing: part of each target that is spread over all classes (arXiv 1512.00567).
        class_weights: one for each class, or None.
    """

    def __init__(
        self, number_of_classes: int, label_smoothing: float, class_weights: Float[Tensor, " classes"] | None
    ) -> None:
        self.number_of_classes = number_of_classes
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def targets(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """As `Objective`."""
        return F.one_hot(labels, self.number_of_classes).float()

    def __call__(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Float[Tensor, "batch classes"],
        images: Float[Tensor, "batch channels height width"],  # noqa: ARG002 - as in Objective
    ) -> Float[Tensor, ""]:
        """As `Objective`."""
        losses = F.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses.mean()


class Distillation:
    """What the labels say in part, and in part what a teacher says of the same images (arXiv 1503.02531).

    The teacher's part is the Kullback-Leibler divergence from its probabilities to the model's, both of
    logits divided by a temperature, times the temperature's square, so that its gradients keep their size.

    Args:
        labels: the objective of the labels.
        teacher: from the images that the model saw to logits of the same classes.
        weight: the teacher's part, 0 to 1.
        temperature: above 0.
    """

    def __init__(
        self,
        labels: Objective,
        teacher: Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch classes"]],
        weight: float,
        temperature: float,
    ) -> None:
        self.labels = labels
        self.teacher = teacher
        self.weight = weight
        self.temperature = temperature

    def targets(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """As `Objective`."""
        return self.labels.targets(labels)

    def __call__(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Float[Tensor, "batch classes"],
        images: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, ""]:
        """As `Objective`."""
        found, taught = (
            F.log_softmax(each.float() / self.temperature, dim=1) for each in (logits, self.teacher(images))
        )
        divergence = F.kl_div(found, taught, reduction="batchmean", log_target=True)
        of_labels = self.labels(logits, targets, images)
        return (1 - self.weight) * of_labels + self.weight * self.temperature**2 * divergence


def balanced_weights(labels: Int[Tensor, " images"], number_of_classes: int) -> Float[Tensor, " classes"]:
    """Weights that give every class the same sum over the images, and a mean of 1 over the images."""
    counts = torch.bincount(labels, minlength=number_of_classes).float()
    return len(labels) / (number_of_classes * counts)
