"""Equations 6 and 7: how queries meet keys, and what they gather from values."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MOST_TOKENS_WRITTEN_OUT = 256
"""In bfloat16 on CPUs; with more, scores take much memory (`python -m benchmarks.attention_backends`)."""


def attention_weights(
    queries: Float[Tensor, "batch heads queries head_dimension"],
    keys: Float[Tensor, "batch heads keys head_dimension"],
) -> Float[Tensor, "batch heads queries keys"]:
    """Equation 6: softmax(q k^T / sqrt(D_h)); each row sums to 1."""
    scaled = queries * queries.shape[-1] ** -0.5  # first: in float16 the product might overflow
    return (scaled @ keys.transpose(-2, -1)).softmax(dim=-1)


def attend(
    queries: Float[Tensor, "batch heads queries head_dimension"],
    keys: Float[Tensor, "batch heads keys head_dimension"],
    values: Float[Tensor, "batch heads keys head_dimension"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads queries head_dimension"]:
    """Equation 7 without keeping the weights: the values, weighted by `attention_weights`."""
    if _is_faster_written_out(queries, keys, values):
        return F.dropout(attention_weights(queries, keys), dropout) @ values
    return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)


def _is_faster_written_out(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """On CPUs, PyTorch's fused attention in bfloat16 takes many times as long backward as its products do."""
    is_bfloat16 = queries.dtype == keys.dtype == values.dtype == torch.bfloat16
    return queries.device.type == "cpu" and is_bfloat16 and keys.shape[2] <= MOST_TOKENS_WRITTEN_OUT
