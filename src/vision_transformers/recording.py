"""Work for a GPU that is recorded once and replayed."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the one that is recorded: in them kernels are compiled and chosen, and memory is taken."""


class Recorded:
    """A function without arguments whose kernels are replayed together, as a CUDA graph.

    A step of a small model is a thousand kernels, and a CPU takes longer to start them one by one than a GPU
    to compute them.

    Args:
        function: it reads and writes tensors whose memory stays, and what it does in Python is the same in
            every call. What it gives is written over by the next call.
    """

    def __init__(self, function: Callable[[], Tensor | None]) -> None:
        self.function = function
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.result: Tensor | None = None

    def __call__(self) -> Tensor | None:
        """The function's result."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._on_another_stream()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            # Other threads write logs and move pictures meanwhile: what they ask of the GPU is not recorded.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.result = self.function()
        self.graph.replay()
        return self.result

    def _on_another_stream(self) -> Tensor | None:
        """As PyTorch wants it of what is recorded later."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self.function()
        current.wait_stream(stream)
        return result
