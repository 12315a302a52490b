"""Labels that are likely wrong, by confident learning (Northcutt et al., arXiv 1911.00068)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LabelErrors:
    """Images whose label is likely wrong, the likeliest first."""

    places: Int[Tensor, " found"]
    """Among the images."""
    likely: Int[Tensor, " found"]
    """The class that each seems to be of, which need not be the model's guess."""


def find_label_errors(
    probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]
) -> LabelErrors:
    """The images whose label is likely wrong, the likeliest first.

    An image is a confident member of a class if the model gives it at least the probability that images of
    that label have on average; if of several, of the likeliest (section 3.1, Equations 1 and 2). Those that
    are confident members of another class than their label's, off the diagonal of the confident joint, are
    ranked by the normalised margin: the probability of the label less that of the likeliest other class.

    Args:
        probabilities: by a model that was not trained on these images.
        labels: as they stand in the data.
    """
    member_of = _confident_members(probabilities, labels)
    is_candidate = (member_of >= 0) & (member_of != labels)  # off the diagonal of the confident joint
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    others = probabilities.scatter(1, labels[:, None], -1.0).max(dim=1).values
    order = (own - others).argsort(stable=True)
    places = order[is_candidate[order]]
    return LabelErrors(places, member_of[places])


def _confident_members(
    probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]
) -> Int[Tensor, " images"]:
    """The class that each image is a confident member of; -1 if of none."""
    classes = probabilities.shape[1]
    counts = torch.bincount(labels, minlength=classes)
    self_confidence = probabilities.gather(1, labels[:, None]).squeeze(1).double()
    sums = torch.zeros(classes, dtype=torch.float64).index_add(0, labels, self_confidence)
    # A class without images has no threshold, and so no confident members.
    thresholds = torch.where(counts > 0, sums / counts.clamp(min=1), torch.inf)
    confident = torch.where(probabilities >= thresholds, probabilities, -1.0)
    likeliest, member_of = confident.max(dim=1)
    return torch.where(likeliest >= 0, member_of, -1)
