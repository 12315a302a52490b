"""The gradient of attention of short sequences on GPUs, in Triton.

All queries of a head stay in a multiprocessor, with the gradients of what they attended to. Keys and values
come some at a time, and leave with whole gradients; those of the queries add up until the end. Rows are
padded to a power of two.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vision_transformers.model.kernels.packed_attention_kernels import (
    LOG2_E,
    Tiles,
    keys_and_values,
    load_rows,
    room_for,
    scores_of,
    store_rows,
)

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
    tiles = tiles or BACKWARD[room_for(tokens), width]
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
        room_for(tokens),
        tiles.tokens,
        room_for(rest) if rest else 0,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return sums


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
    of_attended = load_rows(places, is_row, False)
    queries = load_rows(product + rows[:, None] * token_stride + width[None, :], is_row, False)
    places = attended + rows[:, None] * (heads * WIDTH) + width[None, :]
    products = of_attended.to(tl.float32) * load_rows(places, is_row, False).to(tl.float32)
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
    store_rows(places, of_queries.to(queries.dtype), is_row, False)


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
    keys, values = keys_and_values(
        product, start, token_stride, part_stride, tokens, COLUMNS, WIDTH, IS_WHOLE
    )
    scores = scores_of(queries, keys, start, tokens, COLUMNS, IS_WHOLE)
    of_weights = tl.dot(of_attended, tl.trans(values))
    weights = tl.exp2(scores * scale_of_exponents - statistic[:, None])
    of_scores = (weights * (of_weights - means[:, None])).to(keys.dtype)
    of_values = tl.dot(tl.trans(weights.to(keys.dtype)), of_attended)
    of_keys = tl.dot(tl.trans(of_scores), queries) * scale
    of_queries = tl.dot(of_scores, keys, of_queries)

    columns = start + tl.arange(0, COLUMNS)
    part = heads * WIDTH
    places = found + columns[:, None] * (3 * part) + tl.arange(0, WIDTH)[None, :]
    store_rows(places + part, of_keys.to(keys.dtype), columns < tokens, IS_WHOLE)
    store_rows(places + 2 * part, of_values.to(keys.dtype), columns < tokens, IS_WHOLE)
    return of_queries
