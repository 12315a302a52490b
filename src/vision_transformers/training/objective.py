"""What is minimised."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class Objective:
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
        """Labels as probabilities, so that mixing images can mix them too."""
        return F.one_hot(labels, self.number_of_classes).float()

    def __call__(
        self, logits: Float[Tensor, "batch classes"], targets: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, ""]:
        """The mean loss of these images, in float32."""
        losses = F.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses.mean()


def balanced_weights(labels: Int[Tensor, " images"], number_of_classes: int) -> Float[Tensor, " classes"]:
    """Weights that give every class the same sum over the images, and a mean of 1 over the images."""
    counts = torch.bincount(labels, minlength=number_of_classes).float()
    return len(labels) / (number_of_classes * counts)
