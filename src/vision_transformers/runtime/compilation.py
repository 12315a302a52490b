"""Whether a run compiles its model."""

import os
import shutil
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from vision_transformers.errors import UsageFailure

Compile = Literal["auto", "on", "off"]


def resolve_compile(asked: Compile, device: torch.device) -> bool:
    """For `auto`: on CUDA where there are Triton and a C++ compiler; on a CPU it costs more than it saves.

    Raises:
        UsageFailure: `on`, and there is no C++ compiler.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if asked == "on" and compiler is None:
        raise UsageFailure("--compile on needs a C++ compiler (g++ or clang++), and none is on the PATH")
    can_gain = device.type == "cuda" and find_spec("triton") is not None
    return asked == "on" or (asked == "auto" and can_gain and compiler is not None)


def compiled(model: nn.Module, wanted: bool) -> nn.Module:
    """The model, compiled for static shapes, or as it is; parameters are shared either way."""
    if not wanted:
        return model
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]
