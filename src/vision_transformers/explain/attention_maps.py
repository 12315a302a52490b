"""Attention weights as maps: where information is mixed, not why the model decides."""

import operator
from collections.abc import Sequence
from typing import Literal, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from vision_transformers.explain.tokens import Tokens, embed, reading
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.pools import AttentionPool
from vision_transformers.model.vit import ViT


@torch.no_grad()
def attention_maps(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    queries: Literal["class", "patches"] | SupportsIndex = "class",
) -> Float[Tensor, "layers batch heads rows columns"]:
    """How much some tokens attend to each patch, by layer and head (Equation 6).

    One layer's weights are held at a time, and no layer after the last wanted one is computed.

    Args:
        model: any ViT.
        images: normalised.
        layers: which encoders, from 0; negative ones count from the end; all if not given.
        heads: which heads, likewise.
        queries: whose attention: `class`, what the head reads (the class token, or equal shares of what is
            averaged or attended to in its place); `patches`, the mean over all patches; or one token's, by
            its place in the sequence.

    Returns:
        Each map sums to at most 1: the rest went to prefix tokens.

    Raises:
        IndexError: there is no such layer, head or token.
        ValueError: `queries` is another word.
    """
    depth = model.config.number_of_layers
    wanted = _places(layers, depth, "layers")
    chosen = _places(heads, model.config.number_of_heads, "heads")
    maps = {}
    with evaluating(model):
        tokens = embed(model, images)
        shares = _shares(model, tokens, queries)
        states = model.transformer.states(tokens.sequence, tokens.rotation, weights_of=wanted)
        for number, (_, weights) in zip(range(max(wanted) + 1), states, strict=False):
            if weights is not None:
                rows = torch.einsum("bq,bhqk->bhk", shares, weights[:, chosen])
                maps[number] = tokens.on_grid(rows)
    return torch.stack([maps[number] for number in wanted])


def _shares(
    model: ViT, tokens: Tokens, queries: Literal["class", "patches"] | SupportsIndex
) -> Float[Tensor, "batch tokens"]:
    """How much each token counts among those whose attention is asked for."""
    prefix = tokens.number_of_prefix_tokens
    shares = tokens.sequence.new_zeros(tokens.sequence.shape[:2])
    match queries:
        case "class" if not isinstance(model.head.pool, AttentionPool):
            shares = reading(model, tokens.sequence)
        case "class" | "patches":
            shares[:, prefix:] = 1 / tokens.number_of_patches
        case str():
            raise ValueError(f"queries is {queries!r}: expected 'class', 'patches' or a token's place")
        case _:
            (place,) = _places([operator.index(queries)], shares.shape[1], "tokens")
            shares[:, place] = 1
    return shares


def _places(asked: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Numbers from 0 of what is asked for; all if nothing is."""
    if asked is None:
        return list(range(count))
    wrong = [number for number in asked if not -count <= number < count]
    if wrong or not asked:
        raise IndexError(f"{what} {wrong or 'none'}: expected some of 0 to {count - 1}")
    return [number % count for number in asked]
