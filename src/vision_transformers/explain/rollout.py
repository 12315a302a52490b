"""Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928): attention of all layers, multiplied."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vision_transformers.explain.tokens import embed, reading
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT

Fusion = Literal["mean", "max", "min"]


@torch.no_grad()
def attention_rollout(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    fusion: Fusion = "mean",
    residual_share: float = 0.5,
) -> Float[Tensor, "batch rows columns"]:
    """From which patches information could have come to what the head reads; the same for every class.

    Args:
        model: any ViT.
        images: normalised.
        fusion: how the heads of a layer become one.
        residual_share: the part that passes a layer by its residual connection (section 3: 0.5).

    Raises:
        ValueError: the share is not at least 0 and less than 1, or there is no such fusion.
    """
    if not 0 <= residual_share < 1:
        raise ValueError(f"residual_share is {residual_share}: expected at least 0 and less than 1")
    with evaluating(model):
        tokens = embed(model, images)
        first, every_layer = tokens.sequence, range(len(model.transformer.layers))
        rolled = torch.eye(first.shape[1], dtype=first.dtype, device=images.device)
        rolled = rolled.expand(len(images), -1, -1)
        states = model.transformer.states(first, tokens.rotation, weights_of=every_layer)
        for sequence, weights in states:  # noqa: B007 - of the last layer, it is read
            assert weights is not None
            rolled = _with_residual(_fused(weights, fusion), residual_share) @ rolled
        shares = reading(model, model.transformer.normalization(sequence))
    return tokens.on_grid(torch.einsum("bq,bqk->bk", shares, rolled))


def _fused(
    weights: Float[Tensor, "batch heads tokens tokens"], fusion: Fusion
) -> Float[Tensor, "batch tokens tokens"]:
    match fusion:
        case "mean":
            return weights.mean(dim=1)
        case "max":
            return weights.amax(dim=1)
        case "min":
            return weights.amin(dim=1)
        case _:
            raise ValueError(f"fusion is {fusion!r}: expected 'mean', 'max' or 'min'")


def _with_residual(
    attention: Float[Tensor, "batch tokens tokens"], residual_share: float
) -> Float[Tensor, "batch tokens tokens"]:
    """Mixed with the identity; rows sum to 1 again."""
    identity = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
    mixed = residual_share * identity + (1 - residual_share) * attention
    return mixed / mixed.sum(dim=-1, keepdim=True)
