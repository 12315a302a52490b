"""Equation 7 for short sequences in bfloat16 on CPUs, where PyTorch's fused attention is slow.

softmax(S) V is E V / E 1 with E = exp(S): so the row sums come out of the product with V, to which a column
of ones is joined, and it is the result that is normalised, not the weights. Backward, with G the gradient of
the result divided by the row sums, and d the row sums of its products with the result (arXiv 2205.14135,
appendix B.2), the gradient of S is E * ([G, -d] [V, 1]^T). So the only passes over (tokens, tokens) besides
products are one `exp` and one multiplication; they work on a few images at a time, which stay in the cache.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST_TOKENS = 256
"""Up to here it was measured (benchmarks/attention_backends.py)."""
BYTES_AT_A_TIME = 2**20
"""Of exponentials: about the second-level cache of a core."""
LARGEST_EXPONENT = 60.0
"""exp of it, summed over tokens and multiplied with values, is far from the largest float and the least."""


def is_short(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether products, plain or in `short_attention`, are faster here than PyTorch's fused attention."""
    return (
        queries.device.type == "cpu"
        and queries.dtype == keys.dtype == values.dtype == torch.bfloat16
        and keys.shape[2] <= MOST_TOKENS
    )


def short_attention(
    queries: Float[Tensor, "batch heads queries head_dimension"],
    keys: Float[Tensor, "batch heads keys head_dimension"],
    values: Float[Tensor, "batch heads keys head_dimension"],
) -> Float[Tensor, "batch heads queries head_dimension"]:
    """softmax(q k^T / sqrt(D_h)) v; differentiable once."""
    attended: Tensor = _ShortAttention.apply(queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1))
    return attended.unflatten(0, queries.shape[:2])


class _ShortAttention(torch.autograd.Function):
    """Of sequences: heads of images, one after another."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Keeps the exponentials for the way back only where there is one."""
        scale = queries.shape[2] ** -0.5
        values_and_one = torch.cat([values, torch.ones_like(values[:, :, :1])], dim=2)
        is_bounded = scale * _longest(queries) * _longest(keys) < LARGEST_EXPONENT
        keeps = any(ctx.needs_input_grad)
        parts = _parts(queries, keys)
        shape = (len(queries) if keeps else parts[0].stop, queries.shape[1], keys.shape[1])
        exponentials = queries.new_empty(shape)
        sums = torch.empty_like(values_and_one[:, :1].expand(-1, queries.shape[1], -1))
        for part in parts:
            of_part = exponentials[part] if keeps else exponentials[: part.stop - part.start]
            torch.baddbmm(
                of_part, queries[part], keys[part].transpose(1, 2), beta=0, alpha=scale, out=of_part
            )
            if not is_bounded:
                of_part.sub_(of_part.amax(dim=2, keepdim=True))
            torch.bmm(of_part.exp_(), values_and_one[part], out=sums[part])
        inverse = sums[:, :, -1:].reciprocal()
        attended = sums[:, :, :-1] * inverse
        ctx.save_for_backward(queries, keys, values_and_one, exponentials, attended, inverse)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of queries, keys and values."""
        queries, keys, values_and_one, exponentials, attended, inverse = ctx.saved_tensors
        scale = queries.shape[2] ** -0.5
        scaled = gradient * inverse
        scaled_and_sums = torch.cat([scaled, -(scaled * attended).sum(dim=2, keepdim=True)], dim=2)
        of_queries, of_keys = torch.empty_like(queries), torch.empty_like(keys)
        of_values = torch.empty_like(keys)
        for part in _parts(queries, keys):
            torch.bmm(exponentials[part].transpose(1, 2), scaled[part], out=of_values[part])
            of_scores = torch.bmm(scaled_and_sums[part], values_and_one[part].transpose(1, 2))
            of_scores.mul_(exponentials[part])
            for out, left, right in (
                (of_queries[part], of_scores, keys[part]),
                (of_keys[part], of_scores.transpose(1, 2), queries[part]),
            ):
                torch.baddbmm(out, left, right, beta=0, alpha=scale, out=out)
        return of_queries, of_keys, of_values


def _longest(vectors: Tensor) -> float:
    return float(vectors.float().square().sum(dim=2).max().sqrt())


def _parts(queries: Tensor, keys: Tensor) -> list[slice]:
    """Sequences that are worked on together."""
    bytes_of_one = queries.shape[1] * keys.shape[1] * queries.element_size()
    count = max(1, BYTES_AT_A_TIME // bytes_of_one) * torch.get_num_threads()
    return [slice(start, min(start + count, len(queries))) for start in range(0, len(queries), count)]
