"""What loader workers hand over, and how they fail."""

import multiprocessing
import os
import signal
import subprocess
import sys

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
        before = set(multiprocessing.active_children())
        batches = load_batches(Pictures(), [0, 1, 2] * 20, workers=2)
        next(batches)
        for worker in set(multiprocessing.active_children()) - before:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ReadFailure, match=r"was killed .*: if for want of memory, try fewer"):
            list(batches)


PROGRAM = """
import signal
from tests.data.test_workers import Pictures
from vision_transformers.data.workers import load_batches

batches = load_batches(Pictures(), {order}, workers=1)
assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL

def use(batches):
    for _ in batches:
        {statement}

use(batches)
"""


@pytest.mark.parametrize(
    ("order", "statement", "error"),
    [
        ("[0] * 20", "raise ValueError('mistake')", "ValueError: mistake"),
        ("[0] * 20", "raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("[0, 3]", "pass", "RuntimeError: Caught RuntimeError in DataLoader worker"),
    ],
    ids=["around the loader", "interrupted", "in a worker"],
)
def test_a_program_that_fails_says_how_and_ends(order: str, statement: str, error: str) -> None:
    """Its traceback holds on to the loader, whose workers ignore SIGTERM, and none of them was killed. Nor is
    it interrupted by one that ends: PyTorch's own handler would raise in half of a training step."""
    command = [sys.executable, "-c", PROGRAM.format(order=order, statement=statement)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert finished.returncode != 0
    assert error in finished.stderr
    assert "was killed" not in finished.stderr
