"""What loader workers hand over, and how they fail."""

import multiprocessing
import os
import signal

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_transformers.data.workers import load_batches
from vision_transformers.errors import ReadFailure


class Pictures(Dataset[Tensor]):
    """Batches too large for a pipe; the fourth is a mistake of the program."""

    def __getitem__(self, place: int) -> Tensor:
        return torch.zeros(2) @ torch.zeros(3) if place == 3 else torch.full((64, 1024), float(place))


def test_a_killed_worker_is_told_wherever_its_batches_break_off() -> None:
    """In its queue, or in the memory that it shares: by one failure."""
    for _ in range(5):
        batches = load_batches(Pictures(), [0, 1, 2] * 20, workers=2)
        next(batches)
        for worker in multiprocessing.active_children():
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ReadFailure, match=r"was killed .*: if for want of memory, try fewer"):
            list(batches)


def test_a_mistake_of_the_program_is_no_killed_worker() -> None:
    """Else whoever wrote it would be told to use less memory; and no worker outlives it, at which this
    process would not end."""
    before = multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="size") as mistake:
        list(load_batches(Pictures(), [0, 3], workers=1))
    assert mistake.value.__traceback__ is not None
    for worker in multiprocessing.active_children():
        worker.join(10)
    assert multiprocessing.active_children() == before


def test_nobody_is_interrupted_by_a_worker_that_ends() -> None:
    """PyTorch's handler would raise in half of a training step."""
    before = signal.getsignal(signal.SIGCHLD)
    assert len(list(load_batches(Pictures(), [0, 1], workers=1))) == 2
    assert signal.getsignal(signal.SIGCHLD) == before
