"""Memory: the most that was held at once, and what is said where it is not enough."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vision_transformers.errors import Failure, is_lack_of_memory
from vision_transformers.runtime.allocation import give_back_freed_memory

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@contextmanager
def advising_on_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Says what to change where what is inside needs more memory than a GPU or the CPU has.

    Raises:
        Failure: the memory was not enough; with the advice, which is asked for only then.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_lack_of_memory(error):
            raise Failure(advice()) from error
        raise


def forget_peak_memory(device: torch.device) -> None:
    """Lets the peak begin anew, where the system can: on CUDA, and on Linux for the process.

    What was freed and is kept for later (`keep_freed_memory`) does not count.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(_CLEAR, os.W_OK):
        give_back_freed_memory()
        _CLEAR.write_text("5")


def peak_memory(device: torch.device) -> float:
    """The most memory held, in MiB: of the GPU, or of the process.

    Outside Linux, and in sandboxes such as gVisor, it is counted from the process's start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    peak_line = next((line for line in lines if line.startswith("VmHWM:")), None)
    if peak_line is not None:
        return int(peak_line.split()[1]) / 2**10
    # In KiB, or on macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
