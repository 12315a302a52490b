"""LayerNorm in front of a linear layer in bfloat16 on a CPU, by PyTorch and in C, by type, width and tokens.

    python -m benchmarks.layer_norm_backends [--rounds N]

The table behind model/kernels/layer_norm.py: inference, and training (forward and backward). PyTorch's tokens
in float32 become bfloat16 afterwards, as the linear layer has them under autocast. The two take turns;
medians in milliseconds, and PyTorch's time over that of C, pair by pair.
"""

import argparse
from collections.abc import Callable

import torch
from benchmarks.feed_forward_backends import inference, training
from benchmarks.record import title
from benchmarks.turns import number_of_rounds, ratio, take_turns
from torch import Tensor, nn

from vision_transformers.model.kernels.layer_norm import PROGRAMS, is_available, normalize
from vision_transformers.runtime.allocation import keep_freed_memory

CPU = torch.device("cpu")
WIDTHS = [128, 192, 384, 768]
TOKENS = [64, 256, 1024, 4096, 16384]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=15)
    rounds = parser.parse_args().rounds
    dtypes = [program.dtype for program in PROGRAMS if is_available(program.dtype)]
    if not dtypes:
        parser.error("needs AVX512_BF16, and gcc")
    keep_freed_memory()
    print(f"{title(CPU)}\n")
    print("| type | width | tokens | inference: PyTorch | in C | ratio | training: PyTorch | in C | ratio |")
    print("|---" * 9 + "|")
    for dtype in dtypes:
        for width in WIDTHS:
            for tokens in TOKENS:
                sequence = torch.randn(tokens, width).to(dtype)
                cells = [columns(sequence, step, rounds) for step in (inference, training)]
                print(f"| {dtype} | {width} | {tokens} | {' | '.join(cells)} |", flush=True)


def columns(sequence: Tensor, step: Callable[..., Callable[[], None]], rounds: int) -> str:
    """Three of them."""
    layer = nn.LayerNorm(sequence.shape[1]).to(sequence.dtype)
    ways = {
        "PyTorch": step(lambda given: layer(given).bfloat16(), layer, sequence),
        "in C": step(lambda given: normalize(given, layer), layer, sequence),
    }
    seconds = take_turns(ways, CPU, rounds)
    medians = [f"{1000 * sorted(each)[len(each) // 2]:.3f}" for each in seconds.values()]
    return f"{' | '.join(medians)} | {ratio(seconds['PyTorch'], seconds['in C'])}"


if __name__ == "__main__":
    main()
