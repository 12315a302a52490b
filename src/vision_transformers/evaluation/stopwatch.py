"""How long a piece of work takes by itself."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from vision_transformers.runtime.device import synchronize

LEAST_SECONDS, LEAST_RUNS = 0.02, 5
CALLS_ON_GPU = 10
"""In one run on a GPU, so that waiting for its end counts little."""


def median_seconds(call: Callable[[], Any], device: torch.device) -> float:
    """The median of a call's seconds, over as many runs as fit, 5 at least."""
    calls = 1 if device.type == "cpu" else CALLS_ON_GPU
    found: list[float] = []
    total = 0.0
    while len(found) < LEAST_RUNS or total < LEAST_SECONDS:
        synchronize(device)
        began = time.perf_counter()
        for _ in range(calls):
            call()
        synchronize(device)
        took = time.perf_counter() - began
        found.append(took / calls)
        total += took
    return statistics.median(found)
