"""Kernels of this package for GPUs beside PyTorch's, each alone: attention and GELU, forward and backward.

    python -m benchmarks.gpu_kernels [--rounds N]

The tables behind packed_attention_kernels.py and biased_gelu_kernels.py. Attention begins with queries,
keys and values as one linear layer gives them, and backward ends with one gradient of the three. Medians in
milliseconds; before each call the GPU's cache is filled with something else. Of this package, the operator
that models call is listed, then kernels alone, in every way to cut the work, and which of these are wrong.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from benchmarks.record import title
from benchmarks.turns import number_of_rounds
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.errors import UsageFailure
from vision_transformers.model.kernels.biased_gelu import biased_gelu
from vision_transformers.model.kernels.packed_attention import packed_attention
from vision_transformers.runtime.device import resolve_device

SHAPES = [
    (4096, 50, 8, 16),
    (512, 65, 12, 16),
    (512, 65, 6, 64),
    (512, 50, 12, 64),
    (512, 65, 6, 32),
    (512, 50, 12, 32),
    (512, 128, 6, 64),
    (512, 197, 6, 64),
    (512, 256, 6, 64),
]
"""Images, tokens, heads and width of a head."""
BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "FlashAttention": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}
WAYS = [
    *((16, 1, 1), (16, 1, 2), (16, 2, 1), (32, 1, 1), (32, 2, 1), (32, 4, 1)),
    *((64, 4, 1), (64, 4, 2), (64, 8, 1), (64, 8, 2), (128, 8, 2)),
]
"""Tokens at a time (queries forward, keys and values backward), warps, and loads under way."""
WRONG = 0.01
"""Relative error above which a result is no matter of rounding."""
GELU_SHAPE = (512 * 197, 1536)
BEFORE = 4 * 2**30
"""Bytes that are zeroed before each call: they fill the cache, and take a GPU a millisecond, in which a CPU
starts what is to be timed."""


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=11)
    options = parser.parse_args()
    try:
        device = resolve_device("cuda")
    except UsageFailure as failure:
        parser.error(str(failure))
    stopwatch = ColdStopwatch(device, options.rounds)
    print(f"{title(device)}\n\n| what | by | forward | backward |")
    print("|---" * 4 + "|")
    for shape in SHAPES:
        for by, forward, backward in attention(shape, stopwatch):
            print(f"| attention of {shape} | {by} | {forward} | {backward} |", flush=True)
    for by, forward, backward in gelu(stopwatch):
        print(f"| GELU of {GELU_SHAPE} | {by} | {forward} | {backward} |", flush=True)


class ColdStopwatch:
    """Times calls on a GPU.

    Args:
        device: the GPU.
        rounds: how many calls the median is of.
    """

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds
        self.other = torch.empty(BEFORE, dtype=torch.uint8, device=device)

    def milliseconds(self, call: Callable[[], object]) -> str:
        """The median; or that it asks for more than a multiprocessor has."""
        from triton.runtime.errors import OutOfResources

        try:
            call()
        except OutOfResources:
            return "too large"
        found = []
        for _ in range(self.rounds):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.other.zero_()
            began.record()
            call()
            ended.record()
            torch.cuda.synchronize(self.device)
            found.append(began.elapsed_time(ended))
        return f"{statistics.median(found):.3f}"


def attention(shape: tuple[int, int, int, int], stopwatch: ColdStopwatch) -> Iterator[tuple[str, str, str]]:
    """PyTorch's backends, then every way of ours: who, how long forward and backward take, and whether
    what comes out is right."""
    from vision_transformers.model.kernels.packed_attention_backward_kernels import attend_backward
    from vision_transformers.model.kernels.packed_attention_kernels import Tiles, attend, room_for

    images, tokens, heads, width = shape
    product = _random(images, tokens, 3, heads, width, device=stopwatch.device)
    gradient = _random(images, tokens, heads, width, device=stopwatch.device)
    learned = product.flatten(2).clone().requires_grad_()
    for by, backend in BACKENDS.items():
        with sdpa_kernel(backend):
            try:
                took = _both(lambda: _by_pytorch(learned.view(product.shape)), learned, gradient, stopwatch)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # it does not take these sizes
                took = "", ""
        yield by, *took
    bias = _random(3 * heads * width, device=stopwatch.device)
    ours = _both(lambda: packed_attention(learned.view(product.shape), bias)[0], learned, gradient, stopwatch)
    yield "this package", *ours
    expected = _by_pytorch(learned.view(product.shape))
    (of_expected,) = torch.autograd.grad(expected, learned, gradient)
    attended, found = torch.empty_like(gradient), torch.empty_like(product)
    of_rows = torch.empty(images, heads, tokens, device=stopwatch.device)
    attend(product, attended, of_rows)
    of_ways = torch.empty_like(attended)
    for number, warps, stages in WAYS:
        if number <= room_for(tokens):
            tiles = Tiles(number, warps, stages)
            of_ways.fill_(torch.nan)
            forward = stopwatch.milliseconds(lambda: attend(product, of_ways, of_rows, tiles))  # noqa: B023
            found.fill_(torch.nan)
            backward = stopwatch.milliseconds(
                lambda: attend_backward(gradient, product, attended, of_rows, found, tiles).sum(0)  # noqa: B023
            )
            yield str(tiles), _judged(forward, of_ways, expected), _judged(backward, found, of_expected)


def _judged(took: str, found: Tensor, expected: Tensor) -> str:
    """Beside the time, that the result is wrong, if it is."""
    error = (found.flatten().float() - expected.flatten().float()).norm() / expected.float().norm()
    return took if took == "too large" or error < WRONG else f"{took}, wrong by {error:.3f}"


def gelu(stopwatch: ColdStopwatch) -> Iterator[tuple[str, str, str]]:
    """PyTorch's, compiled with the bias before it, and ours."""
    product = _random(*GELU_SHAPE, device=stopwatch.device).requires_grad_()
    bias = _random(GELU_SHAPE[1], device=stopwatch.device).requires_grad_()
    gradient = _random(*GELU_SHAPE, device=stopwatch.device)
    compiled = torch.compile(lambda product, bias: F.gelu(product + bias))
    for by, activate in (("PyTorch, compiled", compiled), ("this package", biased_gelu)):
        yield by, *_both(lambda: activate(product, bias), (product, bias), gradient, stopwatch)  # noqa: B023


def _both(
    forward: Callable[[], Tensor],
    learned: Tensor | tuple[Tensor, ...],
    gradient: Tensor,
    stopwatch: ColdStopwatch,
) -> tuple[str, str]:
    result = forward()
    with torch.no_grad():
        took = stopwatch.milliseconds(forward)
    return took, stopwatch.milliseconds(
        lambda: torch.autograd.grad(result, learned, gradient, retain_graph=True)
    )


def _by_pytorch(product: Tensor) -> Tensor:
    queries, keys, values = (part.transpose(1, 2) for part in product.unbind(2))
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)


def _random(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(shape, device=device).bfloat16()


if __name__ == "__main__":
    main()
