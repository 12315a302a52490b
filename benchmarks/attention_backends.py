"""Ways to compute attention on a CPU, forward and backward, by tokens, width of a head and numbers.

    python -m benchmarks.attention_backends [--images N] [--rounds N]

The table behind `attend` in model/attention.py: PyTorch's fused attention, and products and a softmax
written out, from queries, keys and values as one linear layer gives them. They take turns; medians in
milliseconds, and the ratio pair by pair.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.turns import Spread, take_turns
from torch import Tensor

from vision_transformers.model.attention import attention_weights
from vision_transformers.runtime.device import describe_device

CPU = torch.device("cpu")
HEADS = 8
SHAPES = [(tokens, width) for tokens in (17, 50, 65, 145, 197, 257) for width in (16, 64)]
WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": F.scaled_dot_product_attention,
    "written": lambda queries, keys, values: attention_weights(queries, keys) @ values,
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{describe_device(CPU)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{options.images} images, {HEADS} heads\n")
    print("| tokens | width of a head | numbers | fused | written | fused / written |")
    print("|---" * 6 + "|")
    for dtype in (torch.bfloat16, torch.float32):
        for tokens, width in SHAPES:
            print(line(tokens, width, dtype, options), flush=True)


def line(tokens: int, width: int, dtype: torch.dtype, options: argparse.Namespace) -> str:
    """One row."""
    query_key_value = torch.randn(options.images, tokens, 3 * HEADS * width, dtype=dtype)
    steps = {name: step(way, query_key_value) for name, way in WAYS.items()}
    seconds = take_turns(steps, CPU, options.rounds)
    ratio = Spread.of([a / b for a, b in zip(seconds["fused"], seconds["written"], strict=True)])
    medians = [f"{1000 * Spread.of(seconds[name]).median:.1f}" for name in WAYS]
    return f"| {tokens} | {width} | {str(dtype)[6:]} | {' | '.join(medians)} | {ratio} |"


def step(way: Callable[[Tensor, Tensor, Tensor], Tensor], query_key_value: Tensor) -> Callable[[], None]:
    """Forward and backward, as in a layer."""
    parameter = query_key_value.clone().requires_grad_()
    gradient = torch.randn_like(query_key_value[..., : query_key_value.shape[2] // 3])

    def both() -> None:
        parts = parameter.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        torch.autograd.grad(way(*parts).transpose(1, 2).flatten(2), parameter, gradient)

    return both


if __name__ == "__main__":
    main()
