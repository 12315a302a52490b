"""A linear layer in bfloat16 that learns on a CPU with tiles (AMX): PyTorch's products, but for one.

That of the weight's gradient, a sum over tokens, `weight_gradient_tiles.c` computes in half to nine tenths of
the time; the bias is added by the product instead of lying in its result before. Signatures of operators are
in plain types, from which PyTorch reads their schemas.
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from vision_transformers.model.kernels.operators import (
    Program,
    are_multiplied_in_bfloat16,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
    wanted_gradients,
)
from vision_transformers.model.plain import is_plain

PROGRAMS = (
    Program(
        source=Path(__file__).with_name("weight_gradient_tiles.c"), instructions=("avx512_bf16", "amx_bf16")
    ),
)
MULTIPLE = 32
"""Of numbers are the widths of both sides."""
LEAST_TOKENS = 1024
LEAST_MULTIPLICATIONS = 2**27
"""With fewer, the way into C and back takes what is saved (`python -m benchmarks.linear_backends`)."""
MOST_WEIGHTS = 1024 * 4096
"""More were not measured."""


def linear(
    sequence: Float[Tensor, "... input_dimension"], layer: nn.Module
) -> Float[Tensor, "... output_dimension"]:
    """layer(sequence), in the faster way where it `is_served`."""
    if isinstance(layer, nn.Linear) and is_served(sequence, layer):
        return transform(sequence, layer)
    return layer(sequence)


def is_served(sequence: Float[Tensor, "... input_dimension"], layer: nn.Linear) -> bool:
    """Whether `transform` takes this, and is faster than what PyTorch has.

    Only where all of it `is_computed_here`, and where the input's gradient, the weight's and the bias's are
    wanted: all are computed.
    """
    is_learning = torch.is_grad_enabled() and sequence.requires_grad
    if sequence.device.type != "cpu" or not is_learning or not is_plain(layer) or layer.bias is None:
        return False
    tensors = (sequence, layer.weight, layer.bias)
    if not is_computed_here(*tensors):  # first: in an export, asking for a size fixes it
        return False
    return (
        layer.weight.requires_grad
        and layer.bias.requires_grad
        and are_multiplied_in_bfloat16(tensors, "cpu")
        and _sizes_fit(sequence, layer.weight)
        and is_available()
    )


@constant_in_compiled_models
def is_available() -> bool:
    """Whether this machine has the instructions, and a compiler."""
    return program_here() is not None


def program_here() -> Program | None:
    """What this machine computes the gradients of weights by; None without instructions or a compiler."""
    return first_available(PROGRAMS)


def _sizes_fit(sequence: Tensor, weight: Tensor) -> bool:
    outputs, inputs = weight.shape
    if sequence.shape[-1] != inputs or outputs % MULTIPLE or inputs % MULTIPLE:
        return False
    are_few = sequence.numel() < LEAST_TOKENS * inputs or sequence.numel() * outputs < LEAST_MULTIPLICATIONS
    return not are_few and outputs * inputs <= MOST_WEIGHTS


def transform(
    sequence: Float[Tensor, "... input_dimension"], layer: nn.Linear
) -> Float[Tensor, "... output_dimension"]:
    """layer(sequence), in bfloat16, of what `is_served` says."""
    tokens = sequence.reshape(-1, sequence.shape[-1])
    given = [tensor.to(torch.bfloat16) for tensor in (tokens, layer.weight, layer.bias)]
    return tiled_linear(*given).view(*sequence.shape[:-1], -1)


@torch.library.custom_op("vision_transformers::tiled_linear", mutates_args=(), device_types="cpu")
def tiled_linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, all of it in bfloat16.

    Args:
        tokens: (tokens, input_dimension).
        weight, bias: (output_dimension, input_dimension) and (output_dimension,).
    """
    if _with_bias is None:
        return F.linear(tokens, weight, bias)
    found: Tensor = _with_bias(tokens, weight, bias, "none", [], "")
    return found


# What compiled models call; `F.linear` copies the bias to where its product goes before it computes that.
_with_bias = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


@torch.library.custom_op("vision_transformers::tiled_linear_backward", mutates_args=(), device_types="cpu")
def tiled_linear_backward(gradient: Tensor, tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to tokens, weight and bias.

    Raises:
        ValueError: another type than bfloat16, or widths that are no multiples of 32.
    """
    return torch.mm(gradient, weight), *weight_gradient(gradient, tokens)


def weight_gradient(gradient: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Those of weight and bias: the products of both, and the gradient itself, summed over tokens.

    Args:
        gradient: (tokens, output_dimension), in bfloat16.
        tokens: (tokens, input_dimension), in bfloat16.

    Raises:
        ValueError: as above.
    """
    _check(gradient, tokens)
    program = program_here()
    if program is None:
        return gradient.t() @ tokens, gradient.sum(0)
    (count, outputs), inputs = gradient.shape, tokens.shape[1]
    gradient, tokens = gradient.contiguous(), tokens.contiguous()
    weight, bias = gradient.new_empty(outputs, inputs), gradient.new_empty(outputs)
    sizes = [ctypes.c_int64(size) for size in (count, outputs, inputs)]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (gradient, tokens, weight, bias)]
    program.call("weight_gradient", *sizes, *pointers)
    return weight, bias


@tiled_linear.register_fake
def _new_output(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG001
    return tokens.new_empty(tokens.shape[0], weight.shape[0])


@tiled_linear_backward.register_fake
def _new_gradients(gradient: Tensor, tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    of_bias = gradient.new_empty(gradient.shape[1])
    return tokens.new_empty(tokens.shape), weight.new_empty(weight.shape), of_bias


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    tokens, weight, bias = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return tuple(_differentiable_backward(gradient, [tokens, weight, bias], ctx.needs_input_grad))
    found: tuple[Tensor, Tensor, Tensor] = tiled_linear_backward(gradient, tokens, weight)
    return found


def _differentiable_backward(
    gradient: Tensor, inputs: list[Tensor], are_wanted: Iterable[bool]
) -> list[Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    # Of views, since one input may be made from another one, or have hooks.
    inputs = [tensor.view_as(tensor) for tensor in inputs]
    return wanted_gradients(F.linear(*inputs), inputs, are_wanted, gradient)


tiled_linear.register_autograd(_backward, setup_context=_keep_for_backward)


@register_flop_formula(torch.ops.vision_transformers.tiled_linear)
def _operations(tokens: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Of its product, for PyTorch's counter, which would pass it by."""
    return 2 * tokens[0] * weight[0] * weight[1]


@register_flop_formula(torch.ops.vision_transformers.tiled_linear_backward)
def _operations_backward(
    gradient: Any,  # noqa: ARG001
    tokens: tuple[int, ...],
    weight: tuple[int, ...],
    *_: Any,
    **__: Any,
) -> int:
    return 2 * _operations(tokens, weight)


def _check(*tensors: Tensor) -> None:
    """Before their memory is given to C."""
    for tensor in tensors:
        has_width = tensor.shape[1] > 0 and tensor.shape[1] % MULTIPLE == 0
        if tensor.dtype != torch.bfloat16 or not has_width or len(tensor) != len(tensors[0]):
            raise ValueError(
                f"expected bfloat16 and multiples of {MULTIPLE} for {len(tensors[0])} tokens, not "
                f"{tensor.dtype} of {tuple(tensor.shape)}"
            )
