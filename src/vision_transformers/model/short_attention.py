"""Equation 7 for short sequences in bfloat16 on CPUs, where PyTorch's fused attention is slow.

softmax(S) V is E V / E 1 with E = exp(S): so the row sums come out of the product with V, to which a column
of ones is joined, and it is the result that is normalised, not the weights. Backward, with G the gradient of
the result divided by the row sums, and d the row sums of its products with the result (arXiv 2205.14135,
appendix B.2), the gradient of S is E * ([G, -d] [V, 1]^T). So the only passes over (tokens, tokens) besides
products are one `exp` and one multiplication; they work on a few images at a time, which stay in the cache.

Two operators, so that `torch.compile` takes them as they are.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MOST_TOKENS = 256
"""Up to here it was measured (benchmarks/attention_backends.py)."""
BYTES_AT_A_TIME = 2**20
"""Of exponentials: about the second-level cache of a core."""
LEAST_SUM, LARGEST_SUM = 1e-25, 1e25
"""Of a row's exponentials; where one is beyond, each row's largest score is subtracted before `exp`."""


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
    attended: Tensor = _attend(queries, keys, values, torch.is_grad_enabled())[0]
    return attended.unflatten(0, queries.shape[:2])


@torch.library.custom_op("vision_transformers::short_attention", mutates_args=())
def _attend(queries: Tensor, keys: Tensor, values: Tensor, keeps: bool) -> list[Tensor]:
    """What is attended to, and what the way back needs; of the exponentials one part, if it `keeps` none.

    Sequences are heads of images, one after another.
    """
    queries, keys = _sequences(queries), _sequences(keys)
    values_and_one = _with_room(values)
    values_and_one[:, :, -1] = 1
    parts = _parts(queries, keys)
    count = len(queries) if keeps else parts[0].stop
    exponentials = queries.new_empty(count, queries.shape[1], keys.shape[1])
    sums = values_and_one.new_empty(*queries.shape[:2], values_and_one.shape[2])

    def add_up(shifts: bool) -> None:
        for part in parts:
            scores = exponentials[part] if keeps else exponentials[: part.stop - part.start]
            scale = queries.shape[2] ** -0.5
            torch.baddbmm(scores, queries[part], keys[part].transpose(1, 2), beta=0, alpha=scale, out=scores)
            if shifts:
                scores.sub_(scores.amax(dim=2, keepdim=True))
            torch.bmm(scores.exp_(), values_and_one[part], out=sums[part])

    add_up(shifts=False)
    least, largest = sums[:, :, -1].aminmax()
    if not (least > LEAST_SUM and largest < LARGEST_SUM):
        add_up(shifts=True)
    inverse = sums[:, :, -1:].reciprocal()
    return [sums[:, :, :-1] * inverse, queries, keys, values_and_one, exponentials, inverse]


@_attend.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor, keeps: bool) -> list[Tensor]:
    (batch, heads, rows, width), columns = queries.shape, keys.shape[2]
    count = batch * heads
    kept = count if keeps else min(count, _part_size(queries[0], keys[0]))
    return [
        queries.new_empty(count, rows, width),
        queries.new_empty(count, rows, width),
        keys.new_empty(count, columns, width),
        values.new_empty(count, columns, width + 1),
        queries.new_empty(kept, rows, columns),
        queries.new_empty(count, rows, 1),
    ]


@torch.library.custom_op("vision_transformers::short_attention_backward", mutates_args=())
def _go_back(gradient: Tensor, heads: int, kept: list[Tensor]) -> list[Tensor]:
    """The gradients of queries, keys and values."""
    attended, queries, keys, values_and_one, exponentials, inverse = kept
    scale = queries.shape[2] ** -0.5
    scaled_and_sums = attended.new_empty(*attended.shape[:2], attended.shape[2] + 1)
    scaled = scaled_and_sums[:, :, :-1]
    torch.mul(gradient, inverse, out=scaled)
    torch.sum(scaled * attended, dim=2, out=scaled_and_sums[:, :, -1]).neg_()
    gradients = [torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(keys)]
    of_queries, of_keys, of_values = gradients
    for part in _parts(queries, keys):
        torch.bmm(exponentials[part].transpose(1, 2), scaled[part], out=of_values[part])
        of_scores = torch.bmm(scaled_and_sums[part], values_and_one[part].transpose(1, 2))
        of_scores.mul_(exponentials[part])
        for out, left, right in (
            (of_queries[part], of_scores, keys[part]),
            (of_keys[part], of_scores.transpose(1, 2), queries[part]),
        ):
            torch.baddbmm(out, left, right, beta=0, alpha=scale, out=out)
    return [each.unflatten(0, (-1, heads)) for each in gradients]


@_go_back.register_fake
def _(gradient: Tensor, heads: int, kept: list[Tensor]) -> list[Tensor]:  # noqa: ARG001
    _, queries, keys, *_ = kept
    return [torch.empty_like(each).unflatten(0, (-1, heads)) for each in (queries, keys, keys)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.heads = inputs[0].shape[1]
    ctx.save_for_backward(*output)


def _backward(ctx: Any, gradients: list[Tensor]) -> tuple[Tensor | None, ...]:
    return (*_go_back(gradients[0], ctx.heads, list(ctx.saved_tensors)), None)


_attend.register_autograd(_backward, setup_context=_keep)


def _sequences(vectors: Tensor) -> Tensor:
    """From (batch, heads, tokens, width) to (batch * heads, tokens, width), in memory of its own."""
    return vectors.clone(memory_format=torch.contiguous_format).flatten(0, 1)


def _with_room(values: Tensor) -> Tensor:
    """The same, with one more column."""
    batch, heads, tokens, width = values.shape
    roomy = values.new_empty(batch, heads, tokens, width + 1)
    roomy[..., :-1] = values
    return roomy.flatten(0, 1)


def _parts(queries: Tensor, keys: Tensor) -> list[slice]:
    """Sequences that are worked on together."""
    count = _part_size(queries, keys)
    return [slice(start, min(start + count, len(queries))) for start in range(0, len(queries), count)]


def _part_size(queries: Tensor, keys: Tensor) -> int:
    """How many of them."""
    bytes_of_one = queries.shape[1] * keys.shape[1] * queries.element_size()
    return max(1, BYTES_AT_A_TIME // bytes_of_one) * torch.get_num_threads()
