"""Attention of short sequences on GPUs, in Triton: all keys of a head stay in a multiprocessor.

Queries come a few at a time, each with its whole row of scores, so that no row is looked at twice. Biases are
those of the linear layer that gives queries, keys and values, and never meet them token by token: with b_q
the queries' bias, (q + b_q) k^T = q k^T + b_q k^T, where the last is one number for each key; the keys' bias
adds the same to all scores of a query, which softmax does not see; and since weights add up to 1, the values'
bias is added to what was attended.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = 1.4426950408889634
"""exp(x) is exp2(x log2(e)), and GPUs have exp2."""


@dataclass(frozen=True)
class Tiles:
    """How many queries are taken at a time, by how many warps, and how many loads are under way."""

    queries: int
    warps: int
    stages: int


FORWARD = {
    **{(16, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    **{(32, width): Tiles(32, 1, 1) for width in (16, 32, 64)},
    **{(64, width): Tiles(64, 4, 1) for width in (16, 32, 64)},
    **{(128, width): Tiles(64, 4, 1) for width in (16, 32, 64)},
}
"""By the greatest number of tokens, a power of two, and the width of a head.

On an H200, (64, 16), (64, 64) and (128, 16) were measured, here and of the backward, of a first version;
the others are like their neighbours (`python -m benchmarks.gpu_kernels`).
"""
BACKWARD = {
    **{(16, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    **{(32, width): Tiles(16, 1, 2) for width in (16, 32, 64)},
    (64, 16): Tiles(16, 1, 2),
    (64, 32): Tiles(32, 2, 2),
    (64, 64): Tiles(32, 4, 1),
    (128, 16): Tiles(16, 2, 2),
    (128, 32): Tiles(32, 4, 1),
    (128, 64): Tiles(32, 8, 2),
}


def attend(product: Tensor, bias: Tensor, attended: Tensor, statistics: Tensor, tiles: Tiles) -> None:
    """Writes `attended`, (images, tokens, heads, width), and the logarithms of the rows' sums, in base 2.

    Args:
        product: (images, tokens, 3, heads, width): queries, keys and values without their biases.
        bias: (3 x heads x width,).
        attended: contiguous.
        statistics: (images, heads, tokens), in float32, contiguous.
        tiles: how the work is cut.
    """
    images, tokens, _, heads, width = product.shape
    _attend[(images * heads,)](
        product,
        bias,
        attended,
        statistics,
        *product.stride()[:3],
        heads,
        tokens,
        width**-0.5 * LOG2_E,
        width,
        tiles.queries,
        columns_for(tokens),
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )


def attend_backward(
    gradient: Tensor, product: Tensor, bias: Tensor, statistics: Tensor, found: Tensor, tiles: Tiles
) -> Tensor:
    """Writes the gradient of `product` into `found`, contiguous, and gives that of two biases.

    Args:
        gradient: of what was attended, (images, tokens, heads, width), with heads contiguous in memory.
        product, bias, statistics, tiles: as of `attend`.
        found: contiguous.

    Returns:
        (images, 2, heads, width), in float32, to be added up over the images: for queries and for values. Of
        the keys' bias there is none.
    """
    images, tokens, _, heads, width = product.shape
    of_biases = torch.empty(images, 2, heads, width, dtype=torch.float32, device=product.device)
    _attend_backward[(images * heads,)](
        gradient,
        product,
        bias,
        statistics,
        found,
        of_biases,
        *product.stride()[:3],
        *gradient.stride()[:2],
        heads,
        tokens,
        width**-0.5,
        width**-0.5 * LOG2_E,
        width,
        tiles.queries,
        columns_for(tokens),
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return of_biases


def columns_for(tokens: int) -> int:
    """The columns that scores have in a multiprocessor: a power of two, 16 or more."""
    return int(max(16, triton.next_power_of_2(tokens)))


@triton.jit
def _keys_and_values(product, scaled_query_bias, token_stride, part_stride, tokens, columns, width):
    """Of one head, zeros beyond the last token, and what the queries' bias adds to a key's scores.

    That is minus infinity beyond the last token, so that weights are 0 there.
    """
    is_token = columns < tokens
    places = columns[:, None] * token_stride + width[None, :]
    keys = tl.load(product + part_stride + places, mask=is_token[:, None], other=0.0)
    values = tl.load(product + 2 * part_stride + places, mask=is_token[:, None], other=0.0)
    of_bias = tl.sum(keys.to(tl.float32) * scaled_query_bias[None, :], 1)
    return keys, values, tl.where(is_token, of_bias, float("-inf"))


@triton.jit
def _attend(
    product,
    bias,
    attended,
    statistics,
    image_stride,
    token_stride,
    part_stride,
    heads,
    tokens,
    scale,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    image = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    columns = tl.arange(0, COLUMNS)
    width = tl.arange(0, WIDTH)
    product += image * image_stride + head * WIDTH
    bias += head * WIDTH + width
    attended += image * tokens * heads * WIDTH + head * WIDTH
    statistics += (image * heads + head) * tokens

    query_bias = tl.load(bias).to(tl.float32)
    value_bias = tl.load(bias + 2 * heads * WIDTH).to(tl.float32)
    keys, values, of_bias = _keys_and_values(
        product, query_bias * scale, token_stride, part_stride, tokens, columns, width
    )

    for start in range(0, tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        is_row = rows < tokens
        places = rows[:, None] * token_stride + width[None, :]
        queries = tl.load(product + places, mask=is_row[:, None], other=0.0)
        scores = tl.dot(queries, tl.trans(keys)) * scale + of_bias[None, :]
        greatest = tl.max(scores, 1)
        weights = tl.exp2(scores - greatest[:, None])
        total = tl.sum(weights, 1)
        result = tl.dot(weights.to(keys.dtype), values) * (1 / total)[:, None] + value_bias[None, :]
        places = rows[:, None] * (heads * WIDTH) + width[None, :]
        tl.store(attended + places, result.to(keys.dtype), mask=is_row[:, None])
        tl.store(statistics + rows, greatest + tl.log2(total), mask=is_row)


@triton.jit
def _attend_backward(
    gradient,
    product,
    bias,
    statistics,
    found,
    of_biases,
    image_stride,
    token_stride,
    part_stride,
    gradient_image_stride,
    gradient_token_stride,
    heads,
    tokens,
    scale,
    scale_of_exponents,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    image = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    columns = tl.arange(0, COLUMNS)
    width = tl.arange(0, WIDTH)
    product += image * image_stride + head * WIDTH
    gradient += image * gradient_image_stride + head * WIDTH
    statistics += (image * heads + head) * tokens
    found_stride = 3 * heads * WIDTH
    found += image * tokens * found_stride + head * WIDTH
    of_biases += image * 2 * heads * WIDTH + head * WIDTH + width

    query_bias = tl.load(bias + head * WIDTH + width).to(tl.float32)
    keys, values, of_bias = _keys_and_values(
        product, query_bias * scale_of_exponents, token_stride, part_stride, tokens, columns, width
    )
    of_keys = tl.zeros((COLUMNS, WIDTH), tl.float32)
    of_values = tl.zeros((COLUMNS, WIDTH), tl.float32)
    sums = tl.zeros((COLUMNS,), tl.float32)

    for start in range(0, tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        is_row = rows < tokens
        places = rows[:, None] * token_stride + width[None, :]
        queries = tl.load(product + places, mask=is_row[:, None], other=0.0)
        places = rows[:, None] * gradient_token_stride + width[None, :]
        of_attended = tl.load(gradient + places, mask=is_row[:, None], other=0.0)
        # Beyond the last row, so that weights are 0 there, however large scores would be.
        statistic = tl.load(statistics + rows, mask=is_row, other=float("inf"))
        scores = tl.dot(keys, tl.trans(queries)) * scale_of_exponents + of_bias[:, None]
        of_weights = tl.dot(values, tl.trans(of_attended))
        weights = tl.exp2(scores - statistic[None, :])
        of_values = tl.dot(weights.to(keys.dtype), of_attended, of_values)
        of_scores = weights * (of_weights - tl.sum(weights * of_weights, 0)[None, :])
        sums += tl.sum(of_scores, 1)
        rounded = of_scores.to(keys.dtype)
        of_keys = tl.dot(rounded, queries, of_keys)
        of_queries = tl.dot(tl.trans(rounded), keys) * scale
        places = rows[:, None] * found_stride + width[None, :]
        tl.store(found + places, of_queries.to(keys.dtype), mask=is_row[:, None])

    of_keys = (of_keys + sums[:, None] * query_bias[None, :]) * scale
    is_token = columns < tokens
    key_places = columns[:, None] * found_stride + width[None, :]
    tl.store(found + heads * WIDTH + key_places, of_keys.to(keys.dtype), mask=is_token[:, None])
    tl.store(found + 2 * heads * WIDTH + key_places, of_values.to(keys.dtype), mask=is_token[:, None])
    tl.store(of_biases, tl.sum(sums[:, None] * keys.to(tl.float32), 0) * scale)
    tl.store(of_biases + heads * WIDTH, tl.sum(of_values, 0))
