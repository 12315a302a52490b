"""How fast a model is: images a second, latencies, memory, and how near to its matrix products alone."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.config import check_known
from vision_transformers.evaluation.matrix_products import matrix_products, operations_of, seconds_of
from vision_transformers.runtime.compilation import compiled
from vision_transformers.runtime.device import synchronize
from vision_transformers.runtime.memory import advising_on_memory, forget_peak_memory, peak_memory
from vision_transformers.runtime.precision import ResolvedPrecision, autocast

Work = Literal["inference", "training"]
Numbers = Literal["float32", "bfloat16", "bfloat16-weights"]
"""In which numbers: `bfloat16` computes products in it, `bfloat16-weights` everything."""
WARM_UP, LEAST_ROUNDS = 2, 5


@dataclass(frozen=True)
class Speed:
    """What was measured at one batch size."""

    work: Work
    precision: Numbers
    compiled: bool
    batch_size: int
    batches: int
    """How many were timed."""
    images_per_second: float
    """At the median."""
    milliseconds: dict[str, float]
    """Of a batch: `p25`, `p50`, `p75`, `p90` and `p99`."""
    share_of_ceiling: float
    """Seconds of the model's matrix products, timed alone, over seconds of all."""
    teraflops: float
    """Multiplications and additions in matrix products a second, in units of 1e12."""
    memory_mebibytes: float
    """The most that the process (on CUDA: the GPU) held while it was measured."""


def measure_speed(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    batch_size: int,
    *,
    work: Work = "inference",
    precision: Numbers = "float32",
    compile: bool = False,
    device: torch.device | None = None,
    least_seconds: float = 2.0,
) -> Speed:
    """Measures on random images; the model itself is not changed.

    Args:
        model: from images to logits.
        image_shape: channels, height and width.
        batch_size: images at once.
        work: `training` is forward, backward and AdamW.
        precision: in which to compute.
        compile: whether through torch.compile; the first calls, which compile, do not count.
        device: where; the CPU if not given.
        least_seconds: how long to measure, and 5 rounds at least.

    Raises:
        UsageFailure: the work or the precision is not known; names the nearest.
        Failure: the memory is not enough for so many images.
    """
    check_known("work", work, get_args(Work))
    check_known("precision", precision, get_args(Numbers))
    device = device or torch.device("cpu")
    advice = f"the memory is not enough for {batch_size} images: try a smaller --batch-size"
    with advising_on_memory(lambda: advice):
        # By a copy of its own, which is gone before the memory is measured.
        products = matrix_products(prepare(model, image_shape, batch_size, work, precision, False, device))
        step = prepare(model, image_shape, batch_size, work, precision, compile, device)
        _compiling(step) if compile else step()  # whose memory does not count
        forget_peak_memory(device)
        seconds = timed(step, device, least_seconds)
        memory = peak_memory(device)
    median = float(np.median(seconds))
    return Speed(
        work,
        precision,
        compile,
        batch_size,
        len(seconds),
        images_per_second=batch_size / median,
        milliseconds={
            f"p{rank}": 1000 * float(np.percentile(seconds, rank)) for rank in (25, 50, 75, 90, 99)
        },
        share_of_ceiling=seconds_of(products) / median,
        teraflops=operations_of(products) / median / 1e12,
        memory_mebibytes=memory,
    )


def prepare(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    batch_size: int,
    work: Work,
    precision: Numbers,
    compile: bool,
    device: torch.device,
) -> Callable[[], None]:
    """What is to be timed: one batch through a copy of the model."""
    dtype = torch.bfloat16 if precision == "bfloat16-weights" else torch.float32
    own = copy.deepcopy(model).to(device, dtype).train(work == "training")
    images = torch.randn(batch_size, *image_shape, device=device).to(dtype)
    return one_batch(own, compiled(own, compile), images, work, precision)


def one_batch(
    model: nn.Module,
    forward: Callable[..., Tensor],
    images: Float[Tensor, "batch channels height width"],
    work: Work,
    precision: Numbers,
    *,
    parts: int = 1,
    recorded: bool = False,
) -> Callable[[], None]:
    """A batch through a model, again and again.

    Args:
        model: whose parameters are trained.
        forward: from images to its logits, perhaps compiled.
        images: always the same.
        work: `training` is forward, backward and AdamW.
        precision: in which to compute; images and parameters are in it, if those are.
        parts: into how many equal parts a training batch is cut; gradients add up to the whole batch's.
        recorded: whether a step will be replayed as a CUDA graph.
    """
    products: ResolvedPrecision = "bfloat16" if precision == "bfloat16" else "float32"
    if work == "inference":

        def infer() -> None:
            with torch.no_grad(), autocast(products, images.device):
                forward(images)

        return infer
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, capturable=recorded)

    def train() -> None:
        for part, of_part in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            with autocast(products, images.device):
                logits = forward(part)
            (F.cross_entropy(logits.float(), of_part) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def timed(step: Callable[[], None], device: torch.device, least_seconds: float) -> list[float]:
    """Seconds of each call, after some that warm up."""
    for _ in range(WARM_UP):
        step()
    found: list[float] = []
    total = 0.0
    while len(found) < LEAST_ROUNDS or total < least_seconds:
        synchronize(device)
        began = time.perf_counter()
        step()
        synchronize(device)
        found.append(time.perf_counter() - began)
        total += found[-1]
    return found


def _compiling(step: Callable[[], object]) -> None:
    """The first call of a step that compiles; all that was compiled before is forgotten.

    PyTorch compiles a function for eight kinds of inputs, and then goes on eager.
    """
    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        step()
