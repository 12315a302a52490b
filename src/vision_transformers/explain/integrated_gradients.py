"""Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv 1703.01365), summed over each patch."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.tokens import of_classes, with_gradients
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT


def integrated_gradients(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
    baseline: Float[Tensor, "batch channels height width"] | None = None,
    steps: int = 32,
) -> Float[Tensor, "batch rows columns"]:
    """How much each patch's pixels add to a class's logit on the straight way from a baseline.

    The map sums to the difference of the two logits (Proposition 1: completeness), as far as so many steps
    of Gauss-Legendre quadrature tell.

    Args:
        model: any ViT with a head.
        images: normalised.
        classes: the class of each image that is asked about.
        baseline: an image that says nothing; each image's own mean colour if not given.
        steps: places on the way, each a forward and a backward pass.

    Raises:
        ValueError: the classes are not one for each image, or there is no such class.
    """
    if baseline is None:
        baseline = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    places, shares = np.polynomial.legendre.leggauss(steps)
    with evaluating(model), with_gradients():
        total = torch.zeros_like(images)
        for place, share in zip(((places + 1) / 2).tolist(), (shares / 2).tolist(), strict=True):
            point = (baseline + place * (images - baseline)).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(of_classes(model(point), classes).sum(), point)
            total += share * gradient
    rows, columns = model.grid(images)
    pixels = ((images - baseline) * total).sum(dim=1)
    return pixels.unflatten(2, (columns, -1)).unflatten(1, (rows, -1)).sum(dim=(2, 4))
