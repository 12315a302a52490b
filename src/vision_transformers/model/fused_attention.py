"""Equations 5 to 7 in one go, in the fastest way that is known for a device, a type and a size."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.gathering import gather
from vision_transformers.model.kernels import packed_attention, short_attention
from vision_transformers.model.kernels.tiled_linear import linear
from vision_transformers.model.plain import is_plain
from vision_transformers.model.scaled_dot_product import attend


def fused_attention(
    sequence: Float[Tensor, "batch tokens model_dimension"],
    query_key_value: nn.Linear,
    number_of_heads: int,
    number_of_queries: int | None = None,
) -> Float[Tensor, "batch queries attention_dimension"]:
    """What tokens gather, of all heads, where neither the weights nor dropout on them are asked for.

    Args:
        sequence: the tokens.
        query_key_value: gives their queries, keys and values, which meet as they are.
        number_of_heads: it divides the width of each of the three.
        number_of_queries: how many tokens gather values, from the first; all if None.
    """
    if number_of_queries is not None and is_plain(query_key_value):
        return _gathered(sequence, query_key_value, number_of_heads, number_of_queries)
    if number_of_queries is None and packed_attention.is_served(sequence, query_key_value, number_of_heads):
        return packed_attention.attend(sequence, query_key_value, number_of_heads)
    product = linear(sequence, query_key_value).unflatten(2, (3, number_of_heads, -1))
    if short_attention.is_served(product):
        attended, _ = short_attention.short_attention(product)
        return attended[:, :number_of_queries].flatten(2)
    queries, keys, values = (part.transpose(1, 2) for part in product.unbind(2))
    return attend(queries[:, :, :number_of_queries], keys, values).transpose(1, 2).flatten(2)


def _gathered(
    sequence: Float[Tensor, "batch tokens model_dimension"],
    query_key_value: nn.Linear,
    number_of_heads: int,
    number_of_queries: int,
) -> Float[Tensor, "batch queries attention_dimension"]:
    """Without keys and values."""
    query_weight, key_weight, value_weight = query_key_value.weight.chunk(3)
    query_bias, value_bias = None, None
    if query_key_value.bias is not None:
        query_bias, _, value_bias = query_key_value.bias.chunk(3)
    queries = F.linear(sequence[:, :number_of_queries], query_weight, query_bias)
    return gather(queries, sequence, key_weight, value_weight, value_bias, number_of_heads)
