"""Ways to compute attention on a CPU, forward and backward, by tokens, width of a head and numbers.

    python -m benchmarks.attention_backends [--images N] [--rounds N]

The table behind model/scaled_dot_product.py and model/kernels/short_attention.py: PyTorch's fused attention,
products and a softmax written out, and `short_attention` in C where it is to be had, from queries, keys and
values as one linear layer gives them. They take turns; medians in milliseconds, and the faster of PyTorch's
two over the last way, pair by pair.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.record import title
from benchmarks.turns import Spread, number_of_rounds, take_turns
from torch import Tensor

from vision_transformers.model.kernels.short_attention import is_available, short_attention
from vision_transformers.model.scaled_dot_product import attention_weights
from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.precision import has_bfloat16

CPU = torch.device("cpu")
HEADS = 8
SHAPES = [(tokens, width) for tokens in (17, 50, 65, 197, 257, 577, 1025) for width in (16, 64)]
Way = Callable[[Tensor], Tensor]
"""From (images, tokens, 3, heads, width) to (images, tokens, heads, width)."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=number_of_rounds, default=9)
    options = parser.parse_args()
    keep_freed_memory()
    print(title(CPU))
    print(f"{options.images} images, {HEADS} heads\n")
    print("| tokens | width of a head | numbers | fused | written | in C | the better of two / the last |")
    print("|---" * 7 + "|")
    for dtype in (torch.bfloat16, torch.float32) if has_bfloat16(CPU) else (torch.float32,):
        for tokens, width in SHAPES:
            print(line(tokens, width, dtype, options), flush=True)


def fused(query_key_value: Tensor) -> Tensor:
    """PyTorch's."""
    queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)


def written(query_key_value: Tensor) -> Tensor:
    """Products and a softmax."""
    queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
    return (attention_weights(queries, keys) @ values).transpose(1, 2)


def line(tokens: int, width: int, dtype: torch.dtype, options: argparse.Namespace) -> str:
    """One row."""
    query_key_value = torch.randn(options.images, tokens, 3, HEADS, width, dtype=dtype)
    ways: dict[str, Way] = {"fused": fused, "written": written}
    if is_available(dtype):
        ways["in C"] = lambda together: short_attention(together)[0]
    seconds = take_turns(
        {name: step(way, query_key_value) for name, way in ways.items()}, CPU, options.rounds
    )
    best = min(seconds["fused"], seconds["written"], key=statistics.median)
    ratio = Spread.of([a / b for a, b in zip(best, seconds[list(ways)[-1]], strict=True)])
    medians = [
        f"{1000 * Spread.of(seconds[name]).median:.1f}" if name in seconds else ""
        for name in ("fused", "written", "in C")
    ]
    return f"| {tokens} | {width} | {str(dtype)[6:]} | {' | '.join(medians)} | {ratio} |"


def step(way: Way, query_key_value: Tensor) -> Callable[[], None]:
    """Forward and backward, as in a layer."""
    parameter = query_key_value.flatten(2).clone().requires_grad_()
    gradient = torch.randn_like(query_key_value[:, :, 0])

    def both() -> None:
        torch.autograd.grad(way(parameter.view(query_key_value.shape)), parameter, gradient)

    return both


if __name__ == "__main__":
    main()
