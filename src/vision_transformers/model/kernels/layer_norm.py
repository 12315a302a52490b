"""LayerNorm in front of linear layers in bfloat16, on CPUs: tokens are read and written once.

`layer_norm.h` computes, by a C file for each type that tokens come in; here it becomes an operator of
PyTorch, differentiable and for `torch.compile`. Signatures are in plain types, from which PyTorch reads the
operators' schemas.
"""

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.kernels.operators import (
    Program,
    are_multiplied_in_bfloat16,
    check_tensor,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
    wanted_gradients,
)

MULTIPLE = 16
"""Of numbers is the width of a token: as many go through the processor together."""
LEAST_NUMBERS = 2**18
"""With fewer, the way into C and back takes what is saved (`python -m benchmarks.layer_norm_backends`)."""


@dataclass(frozen=True, kw_only=True)
class LayerNormProgram(Program):
    """One for one type of tokens."""

    dtype: torch.dtype


HERE = Path(__file__).parent
PROGRAMS = tuple(
    LayerNormProgram(source=HERE / f"layer_norm_of_{name}.c", instructions=("avx512_bf16",), dtype=dtype)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
)


def is_served(sequence: Float[Tensor, "... model_dimension"], layer: nn.LayerNorm) -> bool:
    """Whether `normalize` takes this, and is faster than what PyTorch has.

    Only where all of it `is_computed_here`, and a linear layer of it would be computed in bfloat16.
    """
    if sequence.device.type != "cpu" or layer.weight is None or layer.bias is None:
        return False
    tensors = (sequence, layer.weight, layer.bias)
    if not are_multiplied_in_bfloat16(tensors, "cpu"):
        return False
    if not is_computed_here(*tensors):  # first: in an export, asking for a size fixes it
        return False
    fits = layer.normalized_shape == sequence.shape[-1:] and sequence.shape[-1] % MULTIPLE == 0
    return fits and sequence.numel() >= LEAST_NUMBERS and is_available(sequence.dtype)


@constant_in_compiled_models
def is_available(dtype: torch.dtype) -> bool:
    """Whether this machine has the instructions for such tokens, and a compiler."""
    return program_for(dtype) is not None


def program_for(dtype: torch.dtype) -> LayerNormProgram | None:
    """The one that this machine normalises such tokens by; None without instructions or a compiler."""
    return first_available(program for program in PROGRAMS if program.dtype == dtype)


def normalize(
    sequence: Float[Tensor, "... model_dimension"], layer: nn.LayerNorm
) -> Float[Tensor, "... model_dimension"]:
    """layer(sequence), in bfloat16, of what `is_served` says."""
    normalized, _ = layer_norm(sequence, layer.weight.float(), layer.bias.float(), layer.eps)
    return normalized


def layer_norm(input: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Each token less its mean, over its standard deviation, times a weight and plus a bias.

    Args:
        input: (..., model_dimension), in bfloat16 or float32.
        weight, bias: (model_dimension,), in float32.
        epsilon: is added to the variance.

    Returns:
        The same shape in bfloat16, and what backward needs of each token, (..., 2): its mean, and one over
        its deviation.

    Raises:
        ValueError: other types, a width that is no multiple of 16, or weights of another one.
    """
    found: tuple[Tensor, Tensor] = torch.ops.vision_transformers.layer_norm.default(
        input, weight, bias, epsilon
    )
    return found


def layer_norm_backward(
    gradient: Tensor, input: Tensor, statistics: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to input, weight and bias.

    Raises:
        ValueError: as there, or shapes that are not those of its outputs.
    """
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.vision_transformers.layer_norm_backward.default(
        gradient, input, statistics, weight
    )
    return found


# Not by `torch.library.custom_op`, which imports all that compiles models when it is first called: seconds.
NAME = "vision_transformers::layer_norm"
torch.library.define(NAME, "(Tensor input, Tensor weight, Tensor bias, float epsilon) -> (Tensor, Tensor)")
torch.library.define(
    f"{NAME}_backward",
    "(Tensor gradient, Tensor input, Tensor statistics, Tensor weight) -> (Tensor, Tensor, Tensor)",
)


@torch.library.impl(NAME, "cpu")
def _normalized(input: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    program = _checked_program(input)
    for tensor in (weight, bias):
        check_tensor(tensor, torch.float32, input.shape[-1:])
    found = _new_outputs(input, weight, bias, epsilon)
    given = [tensor.contiguous() for tensor in (input, weight, bias)]
    normalization = Normalization.of(given[1], given[2], epsilon)
    program.call("normalize", *_sizes(input), ctypes.byref(normalization), *map(_pointer, (given[0], *found)))
    return found


@torch.library.impl(f"{NAME}_backward", "cpu")
def _gradients(
    gradient: Tensor, input: Tensor, statistics: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    program = _checked_program(input)
    check_tensor(gradient, torch.bfloat16, input.shape)
    check_tensor(statistics, torch.float32, (*input.shape[:-1], 2))
    check_tensor(weight, torch.float32, input.shape[-1:])
    found = _new_gradients(gradient, input, statistics, weight)
    *given, weight = (tensor.contiguous() for tensor in (gradient, input, statistics, weight))
    normalization = Normalization.of(weight)
    parts = map(_pointer, (*given, *found))
    program.call("normalize_backward", *_sizes(input), ctypes.byref(normalization), *parts)
    return found


def _new_outputs(
    input: Tensor,
    weight: Tensor,  # noqa: ARG001
    bias: Tensor,  # noqa: ARG001
    epsilon: float,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    statistics = input.new_empty(*input.shape[:-1], 2, dtype=torch.float32)
    return input.new_empty(input.shape, dtype=torch.bfloat16), statistics


def _new_gradients(
    gradient: Tensor,  # noqa: ARG001
    input: Tensor,
    statistics: Tensor,  # noqa: ARG001
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return input.new_empty(input.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape)


def _keep_for_backward(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: tuple[Tensor, Tensor]
) -> None:
    *tensors, ctx.epsilon = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else zeros are made for it, to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if gradient is None:  # nothing that was computed from it has one
        return (None,) * 4
    *inputs, statistics = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return *_differentiable_backward(gradient, inputs, ctx.epsilon, ctx.needs_input_grad), None
    input, weight, _ = inputs
    return *layer_norm_backward(gradient, input, statistics, weight), None


def _differentiable_backward(
    gradient: Tensor, inputs: list[Tensor], epsilon: float, are_wanted: Iterable[bool]
) -> list[Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    # Of views, since one input may be made from another one, or have hooks.
    inputs = [tensor.view_as(tensor) for tensor in inputs]
    input, weight, bias = inputs
    normalized = F.layer_norm(input.float(), weight.shape, weight, bias, epsilon).to(torch.bfloat16)
    return wanted_gradients(normalized, inputs, are_wanted, gradient)


torch.library.register_fake(NAME, _new_outputs)
torch.library.register_fake(f"{NAME}_backward", _new_gradients)
torch.library.register_autograd(NAME, _backward, setup_context=_keep_for_backward)


def _checked_program(input: Tensor) -> LayerNormProgram:
    """Before its memory is given to C."""
    program, width = program_for(input.dtype), input.shape[-1]
    if program is None:
        raise ValueError(f"layer_norm of {input.dtype} is not computed on this machine")
    if width == 0 or width % MULTIPLE:
        raise ValueError(f"layer_norm takes tokens of multiples of {MULTIPLE} numbers, not of {width}")
    return program


class Normalization(ctypes.Structure):
    """As in `layer_norm.h`."""

    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("epsilon", ctypes.c_float))

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None, epsilon: float = 0.0) -> "Normalization":
        """Both contiguous float32, and alive until the call is over; backward needs the weight alone."""
        return cls(weight.data_ptr(), None if bias is None else bias.data_ptr(), epsilon)


def _sizes(input: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """How many tokens, and of how many numbers."""
    width = input.shape[-1]
    return ctypes.c_int64(input.numel() // width), ctypes.c_int64(width)


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
