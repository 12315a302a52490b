"""Work for a GPU that is recorded once and replayed."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the one that is recorded: in them kernels are compiled and chosen, and memory is taken."""


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """What may lie there, such as an older recording or compiled kernels, frees itself with calls that a GPU
    refuses while it records."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Recording:
    """Kernels that are replayed together, as a CUDA graph.

    A step of a small model is a thousand kernels, and a CPU takes longer to start them one by one than a GPU
    to compute them. What the kernels need of memory stays taken as long as the recording is there.

    Args:
        device: a GPU, on which all of it happens.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.result: Tensor | None = None

    @property
    def is_made(self) -> bool:
        """Whether calls are replayed by now."""
        return self.graph is not None

    def __call__(self, function: Callable[[], Tensor | None]) -> Tensor | None:
        """The function's result, as it is for the first calls, then replayed.

        Args:
            function: the same one in each call. It reads and writes tensors whose memory stays, and does
                nothing in Python that is to be otherwise in a later call. What it gives is written over then.
        """
        self.calls += 1
        with torch.cuda.device(self.device):
            if self.calls <= WARM_UP:
                return self._beside(function)
            if self.graph is None:
                self.graph = self._recorded(function)
            self.graph.replay()
            return self.result

    def _recorded(self, function: Callable[[], Tensor | None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads write logs and move pictures; what they ask of the GPU is not recorded.
        recording = torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local")
        with _no_garbage_collected(), recording:
            self.result = function()
        return graph

    def _beside(self, function: Callable[[], Tensor | None]) -> Tensor | None:
        """On the stream of the recording, as PyTorch wants it of what is recorded later."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result
