"""Runs the Triton kernels in Triton's interpreter, on a CPU, in float16, which it knows, unlike bfloat16.

Prints the largest of all relative errors, each divided by what is allowed for it.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_transformers.model.kernels import biased_gelu_kernels
from vision_transformers.model.kernels.packed_attention_backward_kernels import attend_backward
from vision_transformers.model.kernels.packed_attention_kernels import attend

ALLOWED = 1e-3
SHAPES = [
    *((2, 50, 3, 16), (1, 64, 2, 32), (1, 65, 2, 64), (1, 90, 1, 32), (1, 97, 1, 16), (1, 128, 2, 64)),
    *((1, 144, 1, 64), (1, 170, 1, 64), (2, 197, 2, 64), (1, 210, 1, 64), (1, 226, 1, 64), (1, 256, 1, 64)),
    *((2, 5, 2, 16), (1, 1, 1, 32)),
]
"""Images, tokens, heads and width of a head."""


def main() -> None:
    torch.manual_seed(0)
    errors = [error for shape in SHAPES for error in attention_errors(*shape)]
    errors += attention_errors(2, 50, 3, 16, added_to_scores=200.0)
    errors += [error for shape in ((70, 96), (9, 520), (3, 7)) for error in gelu_errors(*shape)]
    print(max(errors) / ALLOWED)


def attention_errors(
    images: int, tokens: int, heads: int, width: int, added_to_scores: float = 0.0
) -> list[float]:
    """Of what is attended, and of all gradients.

    Args:
        images, tokens, heads, width: the sizes.
        added_to_scores: to all alike, which changes no weight, but overflows where the greatest score of a
            row, of tokens or of padding, is not taken off.
    """
    product = torch.randn(images, tokens, 3, heads, width).half()
    if added_to_scores:
        product[:, :, 1, :, 0] = 4
        product[:, :, 0, :, 0] = added_to_scores / 4 * width**0.5
    gradient = torch.randn(tokens, images, heads, width).half().transpose(0, 1)  # laid out otherwise
    attended = torch.full(gradient.shape, torch.nan).half()
    statistics = torch.full((images, heads, tokens), torch.nan)
    found = torch.full(product.shape, torch.nan).half()
    attend(product, attended, statistics)
    sums = attend_backward(gradient, product, attended, statistics, found)
    exactly = product.double().requires_grad_()
    queries, keys, values = (part.transpose(1, 2) for part in exactly.unbind(2))
    expected = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
    (of_product,) = torch.autograd.grad(expected, exactly, gradient.double())
    expected_sums = of_product.sum((0, 1))
    of_queries = [error(sums.sum(0)[0], expected_sums[0])] if tokens > 1 else []  # else it is zero
    return [
        error(attended, expected),
        error(found, of_product),
        *of_queries,
        error(sums.sum(0)[1], expected_sums[2]),
    ]


def gelu_errors(tokens: int, hidden: int) -> list[float]:
    product, gradient = torch.randn(2, tokens, hidden).mul(2).half()
    bias = torch.randn(hidden)
    result, found = torch.full((2, tokens, hidden), torch.nan).half()
    biased_gelu_kernels.gelu(product, bias, result)
    of_bias = biased_gelu_kernels.gelu_backward(gradient, product, bias, found)
    inputs = [product.double().requires_grad_(), bias.double().requires_grad_()]
    expected = F.gelu(inputs[0] + inputs[1])
    gradients = torch.autograd.grad(expected, inputs, gradient.double())
    return [error(result, expected), error(found, gradients[0]), error(of_bias.sum(0), gradients[1])]


def error(found: Tensor, expected: Tensor) -> float:
    """Relative, and infinite where a number was not written."""
    difference = (found.double() - expected.detach()).norm() / expected.detach().norm()
    return float(difference) if difference.isfinite() else float("inf")


if __name__ == "__main__":
    main()
