"""Attention of short sequences on GPUs, in Triton: a head stays in a multiprocessor.

Forward holds all keys and values, and takes some queries at a time, each with its whole row of scores.
Backward holds all queries, and takes some keys and values at a time, of which it leaves whole gradients.
Tokens are cut into powers of two that leave few places empty: 197 into 128, 64 and 16.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = 1.4426950408889634
"""exp(x) is exp2(x log2(e)), and GPUs have exp2."""
FEWEST = 16
"""Rows or columns of a product in a multiprocessor."""


@dataclass(frozen=True)
class Tiles:
    """How many tokens are taken at a time, by how many warps, and how many loads are under way."""

    tokens: int
    warps: int
    stages: int


FORWARD = {
    **{(16, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    **{(32, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    **{(size, width): Tiles(16, 1, 1) for size in (64, 128) for width in (16, 32)},
    (64, 64): Tiles(64, 4, 1),
    (128, 64): Tiles(64, 4, 1),
    (256, 64): Tiles(64, 4, 2),
}
"""By `size_of` the tokens, and the width of a head.

On an H200, the last five sizes were measured with widths of 16 and 64, here and of the backward; the others
are like their neighbours (`python -m benchmarks.gpu_kernels`). What was measured gives right results, too:
Triton 3.6 computed wrong ones in some other ways.
"""
BACKWARD = {
    **{(16, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    **{(32, width): Tiles(16, 1, 1) for width in (16, 32, 64)},
    (64, 16): Tiles(32, 1, 1),
    (64, 32): Tiles(32, 2, 1),
    (64, 64): Tiles(64, 4, 1),
    (128, 16): Tiles(16, 1, 2),
    (128, 32): Tiles(32, 4, 1),
    (128, 64): Tiles(64, 4, 1),
    (256, 64): Tiles(64, 8, 1),
}


def attend(product: Tensor, attended: Tensor, statistics: Tensor, tiles: Tiles | None = None) -> None:
    """Writes `attended`, (images, tokens, heads, width), and the logarithms of the rows' sums, in base 2.

    Args:
        product: (images, tokens, 3, heads, width): queries, keys and values.
        attended: contiguous.
        statistics: (images, heads, tokens), in float32, contiguous.
        tiles: how the work is cut; as in the table if not given.
    """
    images, tokens, _, heads, width = product.shape
    tiles = tiles or FORWARD[size_of(tokens), width]
    _attend[(images * heads,)](
        product,
        attended,
        statistics,
        *product.stride()[:3],
        heads,
        tokens,
        width**-0.5 * LOG2_E,
        width,
        tiles.tokens,
        *columns_for(tokens),
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )


def attend_backward(
    gradient: Tensor,
    product: Tensor,
    attended: Tensor,
    statistics: Tensor,
    found: Tensor,
    tiles: Tiles | None = None,
) -> Tensor:
    """Writes the gradient of `product` into `found`, contiguous, and adds up two thirds of it.

    Args:
        gradient: of what was attended, (images, tokens, heads, width), with heads contiguous in memory.
        product, attended, statistics, tiles: as of `attend`.
        found: contiguous.

    Returns:
        (images, 2, heads, width), in float32: sums over the tokens of the gradients of queries and of values.
        Those of keys are zero: what is added to all keys adds the same to all scores of a query.
    """
    images, tokens, _, heads, width = product.shape
    tiles = tiles or BACKWARD[size_of(tokens), width]
    sums = torch.empty(images, 2, heads, width, dtype=torch.float32, device=product.device)
    rest = tokens % tiles.tokens
    _attend_backward[(images * heads,)](
        gradient,
        product,
        attended,
        statistics,
        found,
        sums,
        *product.stride()[:3],
        *gradient.stride()[:2],
        heads,
        tokens,
        width**-0.5,
        width**-0.5 * LOG2_E,
        width,
        size_of(tokens),
        tiles.tokens,
        size_of(rest) if rest else 0,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return sums


def size_of(tokens: int) -> int:
    """The power of two, 16 or more, that has room for them."""
    return int(max(FEWEST, triton.next_power_of_2(tokens)))


def columns_for(tokens: int) -> tuple[int, int, int]:
    """The parts in which up to 256 keys meet queries: each a power of two, or 0 where it takes fewer."""
    parts = []
    while tokens >= 64:
        parts.append(128 if tokens >= 128 else 64)
        tokens -= parts[-1]
    if tokens:
        parts.append(size_of(tokens))
    first, second, third, *_ = *parts, 0, 0
    return first, second, third


@triton.jit
def _load(places, is_there, IS_WHOLE: tl.constexpr):
    return tl.load(places) if IS_WHOLE else tl.load(places, mask=is_there[:, None], other=0.0)


@triton.jit
def _store(places, numbers, is_there, IS_WHOLE: tl.constexpr):
    if IS_WHOLE:
        tl.store(places, numbers)
    else:
        tl.store(places, numbers, mask=is_there[:, None])


@triton.jit
def _keys_and_values(
    product,
    start,
    token_stride,
    part_stride,
    tokens,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    IS_WHOLE: tl.constexpr,
):
    """Of one head, zeros beyond the last token."""
    columns = start + tl.arange(0, COLUMNS)
    places = product + columns[:, None] * token_stride + tl.arange(0, WIDTH)[None, :]
    is_token = columns < tokens
    keys = _load(places + part_stride, is_token, IS_WHOLE)
    values = _load(places + 2 * part_stride, is_token, IS_WHOLE)
    return keys, values


@triton.jit
def _scores(queries, keys, start, tokens, COLUMNS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """Minus infinity beyond the last token, so that weights are 0 there."""
    scores = tl.dot(queries, tl.trans(keys))
    if not IS_WHOLE:
        is_token = start + tl.arange(0, COLUMNS) < tokens
        scores = tl.where(is_token[None, :], scores, float("-inf"))
    return scores


@triton.jit
def _weigh(scores, greatest, scale, values, total, result):
    weights = tl.exp2(scores * scale - greatest[:, None])
    return total + tl.sum(weights, 1), tl.dot(weights.to(values.dtype), values, result)


@triton.jit
def _attend(
    product,
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
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    THIRD: tl.constexpr,
):
    image = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    width = tl.arange(0, WIDTH)
    product += image * image_stride + head * WIDTH
    attended += image * tokens * heads * WIDTH + head * WIDTH
    statistics += (image * heads + head) * tokens

    keys_1, values_1 = _keys_and_values(
        product, 0, token_stride, part_stride, tokens, FIRST, WIDTH, SECOND > 0
    )
    if SECOND:
        keys_2, values_2 = _keys_and_values(
            product, FIRST, token_stride, part_stride, tokens, SECOND, WIDTH, THIRD > 0
        )
    if THIRD:
        keys_3, values_3 = _keys_and_values(
            product, FIRST + SECOND, token_stride, part_stride, tokens, THIRD, WIDTH, False
        )

    for start in range(0, tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        is_row = rows < tokens
        queries = _load(product + rows[:, None] * token_stride + width[None, :], is_row, False)
        scores_1 = _scores(queries, keys_1, 0, tokens, FIRST, SECOND > 0)
        greatest = tl.max(scores_1, 1)
        if SECOND:
            scores_2 = _scores(queries, keys_2, FIRST, tokens, SECOND, THIRD > 0)
            greatest = tl.maximum(greatest, tl.max(scores_2, 1))
        if THIRD:
            scores_3 = _scores(queries, keys_3, FIRST + SECOND, tokens, THIRD, False)
            greatest = tl.maximum(greatest, tl.max(scores_3, 1))

        greatest *= scale
        total = tl.zeros((ROWS,), tl.float32)
        result = tl.zeros((ROWS, WIDTH), tl.float32)
        total, result = _weigh(scores_1, greatest, scale, values_1, total, result)
        if SECOND:
            total, result = _weigh(scores_2, greatest, scale, values_2, total, result)
        if THIRD:
            total, result = _weigh(scores_3, greatest, scale, values_3, total, result)
        result *= (1 / total)[:, None]
        places = attended + rows[:, None] * (heads * WIDTH) + width[None, :]
        _store(places, result.to(queries.dtype), is_row, False)
        tl.store(statistics + rows, greatest + tl.log2(total), mask=is_row)


@triton.jit
def _attend_backward(
    gradient,
    product,
    attended,
    statistics,
    found,
    sums,
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
    REST: tl.constexpr,
):
    image = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    rows = tl.arange(0, ROWS)
    is_row = rows < tokens
    width = tl.arange(0, WIDTH)
    product += image * image_stride + head * WIDTH
    gradient += image * gradient_image_stride + head * WIDTH
    attended += image * tokens * heads * WIDTH + head * WIDTH
    statistics += (image * heads + head) * tokens
    found_stride = 3 * heads * WIDTH
    found += image * tokens * found_stride + head * WIDTH
    sums += image * 2 * heads * WIDTH + head * WIDTH + width

    places = gradient + rows[:, None] * gradient_token_stride + width[None, :]
    of_attended = _load(places, is_row, False)
    queries = _load(product + rows[:, None] * token_stride + width[None, :], is_row, False)
    places = attended + rows[:, None] * (heads * WIDTH) + width[None, :]
    products = of_attended.to(tl.float32) * _load(places, is_row, False).to(tl.float32)
    means = tl.sum(products, 1)
    # Beyond the last row, so that weights are 0 there.
    statistic = tl.load(statistics + rows, mask=is_row, other=float("inf"))
    # A row's weights add up to 1: so do the values' gradients, over the tokens, to the rows of this one.
    tl.store(sums + heads * WIDTH, tl.sum(of_attended.to(tl.float32), 0))

    of_queries = tl.zeros((ROWS, WIDTH), tl.float32)
    whole = tokens // COLUMNS * COLUMNS
    for start in range(0, whole, COLUMNS):
        of_queries = _backward_of_keys_and_values(
            start,
            queries,
            of_attended,
            means,
            statistic,
            of_queries,
            product,
            found,
            token_stride,
            part_stride,
            heads,
            tokens,
            scale,
            scale_of_exponents,
            COLUMNS,
            WIDTH,
            True,
        )
    if REST:
        of_queries = _backward_of_keys_and_values(
            whole,
            queries,
            of_attended,
            means,
            statistic,
            of_queries,
            product,
            found,
            token_stride,
            part_stride,
            heads,
            tokens,
            scale,
            scale_of_exponents,
            REST,
            WIDTH,
            False,
        )
    of_queries *= scale
    tl.store(sums, tl.sum(of_queries, 0))
    places = found + rows[:, None] * found_stride + width[None, :]
    _store(places, of_queries.to(queries.dtype), is_row, False)


@triton.jit
def _backward_of_keys_and_values(
    start,
    queries,
    of_attended,
    means,
    statistic,
    of_queries,
    product,
    found,
    token_stride,
    part_stride,
    heads,
    tokens,
    scale,
    scale_of_exponents,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    IS_WHOLE: tl.constexpr,
):
    """Writes the gradients of some keys and values, and adds to that of all queries."""
    keys, values = _keys_and_values(
        product, start, token_stride, part_stride, tokens, COLUMNS, WIDTH, IS_WHOLE
    )
    scores = _scores(queries, keys, start, tokens, COLUMNS, IS_WHOLE)
    of_weights = tl.dot(of_attended, tl.trans(values))
    weights = tl.exp2(scores * scale_of_exponents - statistic[:, None])
    of_scores = (weights * (of_weights - means[:, None])).to(keys.dtype)
    of_values = tl.dot(tl.trans(weights.to(keys.dtype)), of_attended)
    of_keys = tl.dot(tl.trans(of_scores), queries) * scale
    of_queries = tl.dot(of_scores, keys, of_queries)

    columns = start + tl.arange(0, COLUMNS)
    part = heads * WIDTH
    places = found + columns[:, None] * (3 * part) + tl.arange(0, WIDTH)[None, :]
    _store(places + part, of_keys.to(keys.dtype), columns < tokens, IS_WHOLE)
    _store(places + 2 * part, of_values.to(keys.dtype), columns < tokens, IS_WHOLE)
    return of_queries
