"""Attention of short sequences on GPUs, in Triton: a head stays in a multiprocessor.

All its keys and values do, and queries come some at a time, each with its whole row of scores. Keys are cut
into powers of two that leave few places empty: 197 into 128, 64 and 16.
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

LOG2_E = 1.4426950408889634
"""exp(x) is exp2(x log2(e)), and GPUs have exp2."""
FEWEST = 16
"""Rows or columns of a product in a multiprocessor."""


@dataclass(frozen=True)
class Tiles:
    """How many queries (backward: keys and values) are taken at a time, by how many warps, and how many loads
    are under way."""

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
"""By the room that the tokens take, and the width of a head.

Of these, (64, 16), (64, 64), (128, 16), (128, 64) and (256, 64) were measured on an H200, here and of the
backward (`python -m benchmarks.gpu_kernels`). Others are guesses, whose results alone were looked at: in some
ways of this work Triton 3.6 computed wrong ones.
"""


def attend(product: Tensor, attended: Tensor, statistics: Tensor, tiles: Tiles | None = None) -> None:
    """Writes `attended`, (images, tokens, heads, width), and the logarithms of the rows' sums, in base 2.

    Args:
        product: (images, tokens, 3, heads, width): queries, keys and values.
        attended: contiguous.
        statistics: (images, heads, tokens), in float32, contiguous.
        tiles: how the work is cut; as in the table if not given.
    """
    images, tokens, _, heads, width = product.shape
    tiles = tiles or FORWARD[room_for(tokens), width]
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


def room_for(tokens: int) -> int:
    """The power of two, 16 or more, that has room for them."""
    return int(max(FEWEST, triton.next_power_of_2(tokens)))


def columns_for(tokens: int) -> tuple[int, int, int]:
    """The parts in which up to 256 keys meet queries: each a power of two, or 0 where it takes fewer."""
    parts = []
    while tokens >= 64:
        parts.append(128 if tokens >= 128 else 64)
        tokens -= parts[-1]
    if tokens:
        parts.append(room_for(tokens))
    first, second, third, *_ = *parts, 0, 0
    return first, second, third


@triton.jit
def load_rows(places, is_there, IS_WHOLE: tl.constexpr):
    return tl.load(places) if IS_WHOLE else tl.load(places, mask=is_there[:, None], other=0.0)


@triton.jit
def store_rows(places, numbers, is_there, IS_WHOLE: tl.constexpr):
    if IS_WHOLE:
        tl.store(places, numbers)
    else:
        tl.store(places, numbers, mask=is_there[:, None])


@triton.jit
def keys_and_values(
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
    keys = load_rows(places + part_stride, is_token, IS_WHOLE)
    values = load_rows(places + 2 * part_stride, is_token, IS_WHOLE)
    return keys, values


@triton.jit
def scores_of(queries, keys, start, tokens, COLUMNS: tl.constexpr, IS_WHOLE: tl.constexpr):
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

    keys_1, values_1 = keys_and_values(
        product, 0, token_stride, part_stride, tokens, FIRST, WIDTH, SECOND > 0
    )
    if SECOND:
        keys_2, values_2 = keys_and_values(
            product, FIRST, token_stride, part_stride, tokens, SECOND, WIDTH, THIRD > 0
        )
    if THIRD:
        keys_3, values_3 = keys_and_values(
            product, FIRST + SECOND, token_stride, part_stride, tokens, THIRD, WIDTH, False
        )

    for start in range(0, tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        is_row = rows < tokens
        queries = load_rows(product + rows[:, None] * token_stride + width[None, :], is_row, False)
        scores_1 = scores_of(queries, keys_1, 0, tokens, FIRST, SECOND > 0)
        greatest = tl.max(scores_1, 1)
        if SECOND:
            scores_2 = scores_of(queries, keys_2, FIRST, tokens, SECOND, THIRD > 0)
            greatest = tl.maximum(greatest, tl.max(scores_2, 1))
        if THIRD:
            scores_3 = scores_of(queries, keys_3, FIRST + SECOND, tokens, THIRD, False)
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
        store_rows(places, result.to(queries.dtype), is_row, False)
        tl.store(statistics + rows, greatest + tl.log2(total), mask=is_row)
