"""Whether a run compiles its model."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from vision_transformers.errors import UsageFailure

Compile = Literal["auto", "on", "off"]


def resolve_compile(asked: Compile, device: torch.device) -> bool:
    """For `auto`: on CUDA where there are Triton and a C++ compiler; on a CPU it costs more than it saves.

    Raises:
        UsageFailure: `on`, and PyTorch would find no C++ compiler.
    """
    # PyTorch tries this one alone; $CXX may go on with arguments, as in `ccache g++`.
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++").partition(" ")[0]
    found = shutil.which(compiler) is not None
    if asked == "on" and not found:
        remedy = "set CXX=clang++, which is there" if shutil.which("clang++") else "install it, or set CXX"
        raise UsageFailure(
            f"--compile on needs a C++ compiler, and {compiler!r} is not on the PATH: {remedy}"
        )
    can_gain = device.type == "cuda" and find_spec("triton") is not None
    return asked == "on" or (asked == "auto" and can_gain and found)


def compiled(model: nn.Module, wanted: bool) -> nn.Module:
    """The model, compiled for static shapes, or as it is; parameters are shared either way."""
    if not wanted:
        return model
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]
