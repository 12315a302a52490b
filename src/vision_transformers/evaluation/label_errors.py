"""Labels that are likely wrong, by confident learning (Northcutt et al., arXiv 1911.00068)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def find_label_errors(
    probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]
) -> Int[Tensor, " found"]:
    """Places of the images whose label is likely wrong, the likeliest first.

    An image is a confident member of a class if the model gives it at least the probability that images of
    that label have on average; if of several, of the likeliest (section 3.1, Equations 1 and 2). Those that
    are confident members of another class than their label's, off the diagonal of the confident joint, are
    ranked by the normalised margin: the probability of the label less that of the likeliest other class.

    Args:
        probabilities: by a model that was not trained on these images.
        labels: as they stand in the data.
    """
    is_candidate = _off_diagonal(probabilities, labels)
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    others = probabilities.scatter(1, labels[:, None], -1.0).max(dim=1).values
    order = (own - others).argsort(stable=True)
    return order[is_candidate[order]]


def _off_diagonal(
    probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]
) -> Bool[Tensor, " images"]:
    """Whether each image is counted off the diagonal of the confident joint."""
    classes = probabilities.shape[1]
    counts = torch.bincount(labels, minlength=classes)
    self_confidence = probabilities.gather(1, labels[:, None]).squeeze(1).double()
    sums = torch.zeros(classes, dtype=torch.float64).index_add(0, labels, self_confidence)
    # A class without images has no threshold, and so no confident members.
    thresholds = torch.where(counts > 0, sums / counts.clamp(min=1), torch.inf)
    confident = torch.where(probabilities >= thresholds, probabilities, -1.0)
    likeliest, member_of = confident.max(dim=1)
    return (likeliest >= 0) & (member_of != labels)
