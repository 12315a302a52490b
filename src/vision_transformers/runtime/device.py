"""On what a run computes."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from vision_transformers.errors import UsageFailure

PROCESSORS = Path("/proc/cpuinfo")
_GENERATION = (("family", "cpu family"), ("model", "model"))
"""What tells generations of CPUs apart, and its name in /proc/cpuinfo."""


def resolve_device(asked: str | torch.device) -> torch.device:
    """The device for `auto`, or the one that is asked for, such as `cpu`, `cuda` or `cuda:1`.

    `auto` takes the first of CUDA, MPS and CPU that is there; MPS is untested, and `cpu` avoids it.

    Raises:
        UsageFailure: PyTorch does not know the device, or this machine has none.
    """
    asked = str(asked)
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        if asked.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("cpu, cuda and mps are known here")
        device = torch.device(asked)
        if device.type == "cpu" and device.index:
            raise RuntimeError("all of a machine's processors together are cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageFailure(f"device {asked!r} cannot be used here: {reason}. Try --device auto") from error
    return device


def as_current(device: torch.device) -> AbstractContextManager[object]:
    """While entered, kernels that are not told where to run are started on this GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def usable_processors() -> int:
    """How many of the machine's processors this process may use: under `taskset`, not all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_device(device: torch.device) -> str:
    """The name of the processor, by which a resumed run tells that it is on another one.

    CPUs with their family and model, where the system says: clouds give one name to several generations.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        information = _processor_information()
        name = information.get("model name") or platform.processor() or platform.machine()
        numbers = [f", {field} {information[key]}" for field, key in _GENERATION if key in information]
        return f"{name} ({torch.backends.cpu.get_cpu_capability()}){''.join(numbers)}"
    return device.type


def _processor_information() -> dict[str, str]:
    """Of one of the CPUs; empty where the system does not say."""
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
