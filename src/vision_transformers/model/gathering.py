"""Attention of few queries, without forming keys and values."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vision_transformers.model.kernels import token_means

ROUND_ON_GPUS = 8
"""A product takes a GPU several times as long where the rows of a matrix are no multiple of eight numbers."""


def gather(
    queries: Float[Tensor, "batch queries attention_dimension"],
    sequence: Float[Tensor, "batch tokens model_dimension"],
    key_weight: Float[Tensor, "attention_dimension model_dimension"],
    value_weight: Float[Tensor, "attention_dimension model_dimension"],
    value_bias: Float[Tensor, " attention_dimension"] | None,
    number_of_heads: int,
) -> Float[Tensor, "batch queries attention_dimension"]:
    """What few queries gather from all tokens: Equations 5 to 7.

    A product of three matrices is the same whichever two are multiplied first. With x the sequence,

        scores = q (x W_k)^T = (q W_k^T) x^T,     A (x W_v) = (A x) W_v,

    and to the right of the equals signs no product is of every token with a whole weight matrix. A bias of
    keys, which would add the same to all scores of a query, is nothing that softmax could see.

    Args:
        queries: of all heads, as the linear layer gives them.
        sequence: the tokens, from which keys and values would be made.
        key_weight: of the linear layer that would make keys.
        value_weight, value_bias: of the one that would make values.
        number_of_heads: it divides attention_dimension.
    """
    heads = (number_of_heads, -1)
    by_head = queries.unflatten(2, heads)
    by_head = by_head * by_head.shape[-1] ** -0.5
    through_keys = torch.einsum("bqhd,hdm->bhqm", by_head, key_weight.unflatten(0, heads)).flatten(1, 2)
    gathered = _weighted_means(through_keys, sequence).unflatten(1, heads)
    values = torch.einsum("bhqm,hdm->bqhd", gathered, value_weight.unflatten(0, heads)).flatten(2)
    return values if value_bias is None else values + value_bias


def _weighted_means(
    vectors: Float[Tensor, "batch vectors model_dimension"],
    sequence: Float[Tensor, "batch tokens model_dimension"],
) -> Float[Tensor, "batch vectors model_dimension"]:
    """A x, where A is the softmax of the scores."""
    if token_means.is_served(sequence, vectors):  # the same, in the cache of a CPU
        return token_means.average(sequence, vectors)
    scores = sequence @ _rounded_up(vectors).transpose(1, 2)
    weights = scores.softmax(dim=1)  # of each vector, over the tokens, which lie one after another
    return (weights.transpose(1, 2) @ sequence)[:, : vectors.shape[1]]


def _rounded_up(
    matrices: Float[Tensor, "batch rows columns"],
) -> Float[Tensor, "batch round_number_of_rows columns"]:
    """On GPUs, with zeros below, so that products with their transposes have rows of a round size."""
    missing = -matrices.shape[1] % ROUND_ON_GPUS
    return F.pad(matrices, (0, 0, 0, missing)) if matrices.is_cuda and missing else matrices
