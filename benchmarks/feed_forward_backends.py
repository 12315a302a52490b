"""Feed-forward networks on a CPU in bfloat16, by PyTorch and in C, by their widths and the number of tokens.

    python -m benchmarks.feed_forward_backends [--rounds N]

The table behind model/kernels/narrow_feed_forward.py: inference, and training (forward and backward). The
two take turns; medians in milliseconds, and PyTorch's time over that of C, pair by pair.
"""

import argparse
from collections.abc import Callable

import torch
from benchmarks.record import title
from benchmarks.turns import number_of_rounds, ratio, take_turns
from torch import Tensor, nn

from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.kernels.narrow_feed_forward import is_available, transform
from vision_transformers.runtime.allocation import keep_freed_memory

CPU = torch.device("cpu")
WIDTHS = [(128, 64), (128, 256), (192, 384), (192, 768), (256, 1024), (384, 1536)]
"""Of a token, and between the layers."""
TOKENS = [64, 256, 1024, 4096, 16384]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=15)
    rounds = parser.parse_args().rounds
    if not is_available():
        parser.error("needs AVX512_BF16, and gcc")
    keep_freed_memory()
    print(f"{title(CPU)}\n")
    print("| widths | tokens | inference: PyTorch | in C | ratio | training: PyTorch | in C | ratio |")
    print("|---" * 8 + "|")
    for width, hidden in WIDTHS:
        for tokens in TOKENS:
            cells = [columns(width, hidden, tokens, step, rounds) for step in (inference, training)]
            print(f"| {width}, {hidden} | {tokens} | {' | '.join(cells)} |", flush=True)


def columns(
    width: int, hidden: int, tokens: int, step: Callable[..., Callable[[], None]], rounds: int
) -> str:
    """Three of them."""
    network = FeedForward(width, hidden).bfloat16()
    layers = nn.Sequential(network.input_layer, network.activation, network.output_layer)
    sequence = torch.randn(tokens, width).bfloat16()
    ways = {
        "PyTorch": step(layers, layers, sequence),
        "in C": step(
            lambda given: transform(given, network.input_layer, network.output_layer), layers, sequence
        ),
    }
    seconds = take_turns(ways, CPU, rounds)
    medians = [f"{1000 * sorted(each)[len(each) // 2]:.2f}" for each in seconds.values()]
    return f"{' | '.join(medians)} | {ratio(seconds['PyTorch'], seconds['in C'])}"


def inference(
    way: Callable[[Tensor], Tensor],
    layers: nn.Module,  # noqa: ARG001
    sequence: Tensor,
) -> Callable[[], None]:
    """Forward."""

    def infer() -> None:
        with torch.no_grad():
            way(sequence)

    return infer


def training(
    way: Callable[[Tensor], Tensor], layers: nn.Module, sequence: Tensor, outputs: int | None = None
) -> Callable[[], None]:
    """Forward and backward, as in a block; of `outputs` numbers a token, if they are not as many as go in."""
    learned = [sequence.clone().requires_grad_(), *layers.parameters()]
    gradient = torch.randn(len(sequence), outputs or sequence.shape[1]).bfloat16()

    def train() -> None:
        torch.autograd.grad(way(learned[0]), learned, gradient)

    return train


if __name__ == "__main__":
    main()
