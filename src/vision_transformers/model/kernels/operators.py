"""When an operator of this package may compute what PyTorch would compute.

On CPUs by C that lies beside the Python, on GPUs by Triton.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from vision_transformers.runtime.native import SWITCH, has_instructions, load_native

MEASURED_CAPABILITY = (9, 0)
"""Of the GPUs that the Triton kernels are used on, H100 and H200; they were measured on an H200."""

logger = logging.getLogger(__name__)


Answer = TypeVar("Answer")


def constant_in_compiled_models(question: Callable[..., Answer]) -> Callable[..., Answer]:
    """A question that `torch.compile` asks once, while it compiles, and takes the answer for granted.

    What `torch.compiler.assume_constant_result` does, without importing all that compiles, which would double
    the time in which a program starts that compiles nothing.
    """
    question._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return question


def is_computed_here(*tensors: Tensor, device: str = "cpu") -> bool:
    """Whether what is done with these tensors is done now, on this kind of device, by PyTorch's usual rules.

    Not where a model is exported or traced: what comes of it runs without this package, on other machines.
    Nor where a function is transformed (`torch.func`) or differentiated forward, or with tensors of a kind
    of their own: operators of this package have no rules for that.
    """
    are_usual = all(tensor.device.type == device and _is_usual(tensor) for tensor in tensors)
    return are_usual and not _is_captured()


# Names that PyTorch may drop: without them nothing is known, and it computes everything itself.
_are_functions_transformed: Callable[[], bool] = getattr(
    torch._C, "_are_functorch_transforms_active", lambda: True
)


def _is_captured() -> bool:
    # Not `is_exporting()`: where a model is compiled, PyTorch 2.10 and 2.11 take that for True.
    return getattr(torch.compiler, "_is_exporting_flag", True) or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _is_usual(tensor: Tensor) -> bool:
    if _are_functions_transformed():
        return False
    if torch.compiler.is_compiling():
        return True
    return type(tensor) in (Tensor, nn.Parameter) and unpack_dual(tensor).tangent is None


def are_multiplied_in_bfloat16(tensors: Iterable[Tensor], device: str) -> bool:
    """Whether a linear layer of these would compute in it; autocast leaves float64 alone."""
    if torch.is_autocast_enabled(device):
        is_wide = any(tensor.dtype == torch.float64 for tensor in tensors)
        return torch.get_autocast_dtype(device) == torch.bfloat16 and not is_wide
    return all(tensor.dtype == torch.bfloat16 for tensor in tensors)


def wants_gradients(*tensors: Tensor) -> bool:
    """Whether what is computed of these now is to have any."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def are_learned_together(sequence: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether all weights are learned, or no gradient is wanted: for what computes all gradients or none."""
    return all(weight.requires_grad for weight in weights) or not wants_gradients(sequence, *weights)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A C file, and where it is faster than what PyTorch has."""

    source: Path
    instructions: tuple[str, ...]
    """That the processor has to have."""
    superseded_by: str | None = None
    """Instructions with which PyTorch, or another program, is faster."""

    def suits_processor(self) -> bool:
        """Whether it would be used here, if there were a compiler."""
        is_superseded = self.superseded_by is not None and has_instructions(self.superseded_by)
        return all(map(has_instructions, self.instructions)) and not is_superseded

    def is_available(self) -> bool:
        """Whether it is used here."""
        return self.suits_processor() and load_native(self.source) is not None

    def call(self, name: str, *arguments: Any) -> None:
        """Calls one of its functions, which gives nothing back; only where it is available."""
        function = getattr(load_native(self.source), name)
        function.restype = None
        function(*arguments)


AnyProgram = TypeVar("AnyProgram", bound=Program)


def first_available(programs: Iterable[AnyProgram]) -> AnyProgram | None:
    """The one that is used here, of those that compute the same in other ways."""
    return next((program for program in programs if program.is_available()), None)


@constant_in_compiled_models
def is_triton_available(device: torch.device) -> bool:
    """Whether the Triton kernels are used on this GPU."""
    is_measured = torch.cuda.get_device_capability(device) == MEASURED_CAPABILITY
    return is_measured and os.environ.get(SWITCH) != "off" and _does_triton_start()


@functools.cache
def _does_triton_start() -> bool:
    """Whether Triton is there, and can compile the piece of C through which it reaches a GPU."""
    if torch.version.cuda is None or find_spec("triton") is None:
        return False
    from triton.runtime import driver

    try:
        driver.active.get_current_device()
    except Exception as error:  # what a compiler, or a folder that is not there, means to Triton is its own
        logger.warning("attention and GELU are left to PyTorch, which takes longer: %s", error)
        return False
    return True


def wanted_gradients(
    output: Tensor, inputs: Sequence[Tensor], are_wanted: Iterable[bool], gradient: Tensor
) -> list[Tensor | None]:
    """The gradients of those inputs that want one, with gradients of their own; None for the others."""
    wanted = [tensor for tensor, is_wanted in zip(inputs, are_wanted, strict=False) if is_wanted]
    found = iter(torch.autograd.grad(output, wanted, gradient, create_graph=True))
    return [next(found) if is_wanted else None for _, is_wanted in zip(inputs, are_wanted, strict=False)]


def check_tensor(tensor: Tensor, dtype: torch.dtype, shape: Iterable[int]) -> None:
    """Before its memory is given to C.

    Raises:
        ValueError: it is of another type or shape.
    """
    if tensor.dtype != dtype or tensor.shape != tuple(shape):
        raise ValueError(
            f"expected {dtype} of the shape {tuple(shape)}, not {tensor.dtype} of {tuple(tensor.shape)}"
        )
