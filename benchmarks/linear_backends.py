"""Linear layers that learn in bfloat16 on a CPU with tiles (AMX), by PyTorch and with C.

    python -m benchmarks.linear_backends [--rounds N]

The table behind model/kernels/tiled_linear.py: forward and backward, in which C computes weights' gradients.
The two take turns; medians in milliseconds, and PyTorch's time over that of C, pair by pair.
"""

import argparse

import torch
from benchmarks.feed_forward_backends import training
from benchmarks.record import title
from benchmarks.turns import number_of_rounds, ratio, take_turns
from torch import nn

from vision_transformers.model.kernels.tiled_linear import is_available, transform
from vision_transformers.runtime.allocation import keep_freed_memory

CPU = torch.device("cpu")
WIDTHS = [(128, 128), (128, 384), (192, 576), (384, 384), (384, 1152), (1536, 384), (768, 2304), (1024, 4096)]
"""Of what goes in, and of what comes out."""
TOKENS = [64, 256, 1024, 4096, 16384]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=15)
    rounds = parser.parse_args().rounds
    if not is_available():
        parser.error("needs AMX, and gcc")
    keep_freed_memory()
    print(f"{title(CPU)}\n")
    print("| widths | tokens | PyTorch | in C | ratio |")
    print("|---" * 5 + "|")
    for inputs, outputs in WIDTHS:
        for tokens in TOKENS:
            cells = columns(inputs, outputs, tokens, rounds)
            print(f"| {inputs}, {outputs} | {tokens} | {cells} |", flush=True)


def columns(inputs: int, outputs: int, tokens: int, rounds: int) -> str:
    """Three of them."""
    layer = nn.Linear(inputs, outputs).bfloat16()
    sequence = torch.randn(tokens, inputs).bfloat16()
    ways = {
        "PyTorch": training(layer, layer, sequence, outputs),
        "in C": training(lambda given: transform(given, layer), layer, sequence, outputs),
    }
    seconds = take_turns(ways, CPU, rounds)
    medians = [f"{1000 * sorted(each)[len(each) // 2]:.2f}" for each in seconds.values()]
    return f"{' | '.join(medians)} | {ratio(seconds['PyTorch'], seconds['in C'])}"


if __name__ == "__main__":
    main()
