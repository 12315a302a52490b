"""When an operator whose C lies beside this file may compute on a CPU what PyTorch would compute."""

import functools
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from vision_transformers.native import has_instructions, load_native


def is_computed_here(tensor: Tensor) -> bool:
    """Whether what is done with this tensor is done now, on a CPU, by PyTorch's usual rules.

    Not where a model is exported or traced: what comes of it runs without this package, on other machines.
    Nor where a function is transformed (`torch.func`) or differentiated forward: C has no rules for that.
    """
    return tensor.device.type == "cpu" and not (_is_captured() or _is_transformed(tensor))


def _is_captured() -> bool:
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _is_transformed(tensor: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or unpack_dual(tensor).tangent is not None


@functools.cache
def is_bfloat16_available(source: Path) -> bool:
    """Whether this machine has the instructions for it, and a compiler for this C file."""
    return has_instructions("avx512_bf16") and load_native(source) is not None
