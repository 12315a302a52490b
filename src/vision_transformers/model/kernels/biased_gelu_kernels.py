"""GELU of a linear layer's output on GPUs, in Triton, with the layer's bias inside.

Each number is read once and written once; backward adds up the bias's gradient on the way. PyTorch reads the
gradient again for that, and spends more on its error function than memory takes for the numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 4
NUMBERS = 2048
"""That a program of the forward takes."""
NUMBERS_AT_A_TIME = 2048
"""That a program of the backward takes in one step."""
WIDEST = 512
"""Columns of a program of the backward."""
PROGRAMS, MOST_STEPS = 1024, 16
"""The backward's programs take several steps where there would be more of them than these."""


def gelu(product: Tensor, bias: Tensor, result: Tensor) -> None:
    """Writes gelu(product + bias) into `result`; both are contiguous, (..., hidden)."""
    count = product.numel()
    _gelu[(triton.cdiv(count, NUMBERS),)](
        product, bias, result, count, product.shape[-1], NUMBERS, num_warps=WARPS
    )


def gelu_backward(gradient: Tensor, product: Tensor, bias: Tensor, found: Tensor) -> Tensor:
    """Writes the gradient of `product` into `found`, and gives that of the bias, to be added up over rows.

    All but the bias are contiguous, (tokens, hidden).
    """
    tokens, hidden = product.shape
    columns = min(WIDEST, triton.next_power_of_2(hidden))
    rows = NUMBERS_AT_A_TIME // columns
    across = triton.cdiv(hidden, columns)
    steps = min(MOST_STEPS, max(1, triton.cdiv(across * triton.cdiv(tokens, rows), PROGRAMS)))
    down = triton.cdiv(tokens, rows * steps)
    of_bias = torch.empty(down, hidden, dtype=torch.float32, device=product.device)
    _gelu_backward[(down, across)](
        gradient, product, bias, found, of_bias, tokens, hidden, steps, rows, columns, num_warps=WARPS
    )
    return of_bias


@triton.jit
def _normal(x):
    """The cumulative distribution, and exp(-x^2 / 2), of which the density is a part.

    Abramowitz and Stegun, 7.1.26, whose error is below 1e-7.
    """
    bell = tl.exp2(x * x * -0.7213475204444817)
    one_over_t = 1 + 0.3275911 * 0.7071067811865476 * tl.abs(x)
    t = tl.rsqrt(one_over_t * one_over_t)  # a division takes a GPU eight instructions, this two
    polynomial = -0.7265760135 + t * 0.5307027145
    polynomial = 0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * polynomial))
    tail = bell * t * polynomial
    return tl.where(x < 0, tail, 1 - tail), bell


@triton.jit
def _gelu(product, bias, result, count, HIDDEN: tl.constexpr, NUMBERS: tl.constexpr):
    places = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    is_number = places < count
    x = tl.load(product + places, mask=is_number).to(tl.float32)
    x += tl.load(bias + places % HIDDEN).to(tl.float32)
    cumulative, _ = _normal(x)
    tl.store(result + places, (x * cumulative).to(result.dtype.element_ty), mask=is_number)


@triton.jit
def _gelu_backward(
    gradient,
    product,
    bias,
    found,
    of_bias,
    tokens,
    hidden,
    steps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < hidden
    here = tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(steps):
        rows = (tl.program_id(0) * steps + step) * ROWS + tl.arange(0, ROWS)
        places = rows.to(tl.int64)[:, None] * hidden + columns[None, :]
        is_number = (rows < tokens)[:, None] & is_column[None, :]
        x = tl.load(product + places, mask=is_number, other=0.0).to(tl.float32) + here[None, :]
        cumulative, bell = _normal(x)
        slope = cumulative + x * bell * 0.3989422804014327
        of_product = tl.load(gradient + places, mask=is_number, other=0.0).to(tl.float32) * slope
        tl.store(found + places, of_product.to(found.dtype.element_ty), mask=is_number)
        total += of_product
    tl.store(of_bias + tl.program_id(0) * hidden + columns, tl.sum(total, 0), mask=is_column)
