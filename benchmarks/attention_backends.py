"""PyTorch's two ways to compute attention on a CPU, in training steps of small models.

The table behind `runtime/attention.py`. The two take turns, step by step; medians, and the median of the
ratios pair by pair. Run by hand: python benchmarks/attention_backends.py
"""

import statistics
import time
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.model.vit import ViT
from vision_transformers.runtime.device import describe_device
from vision_transformers.runtime.precision import ResolvedPrecision, autocast

CPU = torch.device("cpu")
BATCH, WARM_UP, ROUNDS = 128, 3, 9
GRIDS = {7: (4, 4), 5: (7, 6), 4: (7, 7), 2: (14, 14)}


def measure(patch: int, precision: ResolvedPrecision) -> tuple[float, float, float]:
    """Milliseconds of a step with fused attention and with plain products, and their ratio."""
    image_shape = (GRIDS[patch][0] * patch, GRIDS[patch][1] * patch)
    model = ViT((patch, patch), 128, 4, 4, 256, 1, 10, max_image_shape=image_shape, pool="mean")
    images, labels = torch.randn(BATCH, 1, *image_shape), torch.randint(0, 10, (BATCH,))

    def step(backend: AbstractContextManager[None]) -> float:
        began = time.perf_counter()
        with backend:
            with autocast(precision, CPU):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
        model.zero_grad()
        return 1000 * (time.perf_counter() - began)

    turns = [(step(nullcontext()), step(sdpa_kernel(SDPBackend.MATH))) for _ in range(WARM_UP + ROUNDS)][
        WARM_UP:
    ]
    fused, plain = (statistics.median(column) for column in zip(*turns, strict=True))
    return fused, plain, statistics.median(a / b for a, b in turns)


def main() -> None:
    """Prints the table."""
    title = f"Width 128, 4 layers, 4 heads, batch {BATCH}: {describe_device(CPU)}, torch {torch.__version__}"
    table = Table("tokens", "precision", "fused, ms", "plain, ms", "fused / plain", title=title)
    for patch, (rows, columns) in GRIDS.items():
        for precision in ("float32", "bfloat16"):
            fused, plain, ratio = measure(patch, precision)  # type: ignore[arg-type]
            table.add_row(str(rows * columns + 1), precision, f"{fused:.0f}", f"{plain:.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
