"""When an operator whose C lies beside this file may compute on a CPU what PyTorch would compute."""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from vision_transformers.native import has_instructions, load_native


def is_computed_here(*tensors: Tensor) -> bool:
    """Whether what is done with these tensors is done now, on a CPU, by PyTorch's usual rules.

    Not where a model is exported or traced: what comes of it runs without this package, on other machines.
    Nor where a function is transformed (`torch.func`) or differentiated forward, or with tensors of a kind
    of their own: C has no rules for that.
    """
    are_usual = all(tensor.device.type == "cpu" and _is_usual(tensor) for tensor in tensors)
    return are_usual and not _is_captured()


def _is_captured() -> bool:
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _is_usual(tensor: Tensor) -> bool:
    if torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return True
    return type(tensor) in (Tensor, nn.Parameter) and unpack_dual(tensor).tangent is None


@functools.cache
def is_bfloat16_available(source: Path) -> bool:
    """Whether this machine has the instructions for it, and a compiler for this C file."""
    return has_instructions("avx512_bf16") and load_native(source) is not None


def function_of(source: Path, name: str) -> Any:
    """A function of a C file that gives nothing back; only where `is_bfloat16_available`."""
    function = getattr(load_native(source), name)
    function.restype = None
    return function
