"""Relevance by gradient times attention (Chefer, Gur and Wolf 2021, arXiv 2103.15679)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.tokens import (
    embed,
    of_classes,
    outside_of_inference,
    reading,
    with_gradients,
)
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT


def relevance(
    model: ViT, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, " batch"]
) -> Float[Tensor, "batch rows columns"]:
    """How much each patch speaks for a class.

    R = 1 before the first layer; each layer adds the mean over its heads of (gradient * attention)+, times R
    (Equations 5 and 6). The map is the row of the class token, or of whatever else the head reads.

    Args:
        model: any ViT with a head.
        images: normalised.
        classes: the class of each image that is asked about.

    Returns:
        0 or more.

    Raises:
        ValueError: the classes are not one for each image, or there is no such class.
    """
    with evaluating(model), with_gradients():
        tokens = embed(model, outside_of_inference(images))
        # Gradients end here: those of parameters and pixels are not wanted.
        first = tokens.sequence.detach().requires_grad_()
        sequence, attention = model.transformer(first, True, tokens.rotation)
        logits = model.head(sequence)
        gradients = torch.autograd.grad(of_classes(logits, classes).sum(), attention)
    with torch.no_grad():
        rows = reading(model, sequence)
        # rows (1 + A_L) ... (1 + A_1) from the left: vectors instead of matrices.
        for weights, gradient in zip(reversed(attention), reversed(gradients), strict=True):
            mixed = (gradient * weights).clamp(min=0).mean(dim=1)
            rows = rows + torch.einsum("bq,bqk->bk", rows, mixed)
    return tokens.on_grid(rows)
