"""Temperature scaling: probabilities that mean what they say (Guo et al., arXiv 1706.04599, section 4.2)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

BOUND = 20.0
"""Temperatures are between 1 / BOUND and BOUND."""
HALVINGS = 40


def fit_temperature(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """The temperature T that makes the cross-entropy of logits / T least.

    The images should be those that nothing else was fitted to. Where all are guessed right, no temperature
    would be too low; so each of N labels counts as certain by (N + 1) / (N + 2) only, as Platt (1999, section
    2.2) has it, and the other classes share the rest. The cross-entropy is convex in 1 / T: its slope is
    bisected, in double precision. The guess of no image changes.

    Raises:
        ValueError: there are no images, or fewer than two classes.
    """
    images, classes = logits.shape
    if images < 1 or classes < 2:
        raise ValueError(f"no temperature can be fitted to {images} images of {classes} classes")
    logits, labels = logits.double().cpu(), labels.cpu()
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = (logits.sum(dim=1) - true) / (classes - 1)
    wanted = ((images + 1) * true + others).mean() / (images + 2)

    def slope(inverse: float) -> float:
        """Of the mean cross-entropy by 1 / T: the mean logit as guessed, less that as labelled."""
        expected = torch.einsum("ij,ij->i", (logits * inverse).softmax(dim=1), logits).mean()
        return float(expected - wanted)

    lower, upper = -math.log(BOUND), math.log(BOUND)
    for _ in range(HALVINGS):
        middle = (lower + upper) / 2
        if slope(math.exp(middle)) < 0:
            lower = middle
        else:
            upper = middle
    return math.exp(-(lower + upper) / 2)
