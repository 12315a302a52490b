"""Means of tokens in bfloat16 on CPUs with tiles (AMX), each weighed by how tokens meet a vector.

`token_means_tiles.c` computes; here it becomes an operator of PyTorch, differentiable and for
`torch.compile`. Signatures are in plain types, from which PyTorch reads the operators' schemas.
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from vision_transformers.model.kernels.operators import (
    Program,
    are_multiplied_in_bfloat16,
    check_tensor,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
    wanted_gradients,
)

PROGRAMS = (
    Program(source=Path(__file__).with_name("token_means_tiles.c"), instructions=("avx512_bf16", "amx_bf16")),
)
MULTIPLE = 32
"""Of numbers is the width of a token."""
MOST_VECTORS = 16
"""For an image: a row of scores is a row of a tile."""
LEAST_NUMBERS = 2**17
"""Of all tokens: with fewer, the way into C and back takes what is saved."""
MOST_NUMBERS_OF_IMAGE = 257 * 1024
"""More were not measured."""


def is_served(
    sequence: Float[Tensor, "batch tokens model_dimension"],
    vectors: Float[Tensor, "batch vectors model_dimension"],
) -> bool:
    """Whether `average` takes these, and is faster than what PyTorch has.

    Only where they are computed here, and products of them would be computed in bfloat16.
    """
    if sequence.device.type != "cpu" or not are_multiplied_in_bfloat16((sequence, vectors), "cpu"):
        return False
    if not is_computed_here(sequence, vectors):  # first: in an export, asking for a size fixes it
        return False
    _, tokens, dimension = sequence.shape
    fits = dimension % MULTIPLE == 0 and 0 < vectors.shape[1] <= MOST_VECTORS
    are_as_many = sequence.numel() >= LEAST_NUMBERS and tokens * dimension <= MOST_NUMBERS_OF_IMAGE
    return fits and are_as_many and is_available()


@constant_in_compiled_models
def is_available() -> bool:
    """Whether this machine has the instructions, and a compiler."""
    return program_here() is not None


def program_here() -> Program | None:
    """The one that this machine computes by; None without instructions or a compiler."""
    return first_available(PROGRAMS)


def average(
    sequence: Float[Tensor, "batch tokens model_dimension"],
    vectors: Float[Tensor, "batch vectors model_dimension"],
) -> Float[Tensor, "batch vectors model_dimension"]:
    """softmax(vectors sequence^T) sequence, in bfloat16, of what `is_served` says."""
    given = (tensor.to(torch.bfloat16) for tensor in (sequence, vectors))
    found: tuple[Tensor, Tensor] = torch.ops.vision_transformers.token_means.default(*given)
    return found[0]


# Not by `torch.library.custom_op`, which imports all that compiles models when it is first called: seconds.
NAME = "vision_transformers::token_means"
torch.library.define(NAME, "(Tensor sequence, Tensor vectors) -> (Tensor, Tensor)")
torch.library.define(
    f"{NAME}_backward",
    "(Tensor gradient, Tensor sequence, Tensor vectors, Tensor weights) -> (Tensor, Tensor)",
)


@torch.library.impl(NAME, "cpu")
def _averaged(sequence: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    program = _checked_program(sequence, vectors)
    means, weights = _new_outputs(sequence, vectors)
    given = [tensor.contiguous() for tensor in (sequence, vectors)]  # until C is done
    program.call("average", _sizes(sequence, vectors), *map(_pointer, (*given, weights, means)))
    return means, weights


@torch.library.impl(f"{NAME}_backward", "cpu")
def _gradients(gradient: Tensor, sequence: Tensor, vectors: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    program = _checked_program(sequence, vectors)
    for tensor, like in zip((gradient, weights), _new_outputs(sequence, vectors), strict=True):
        check_tensor(tensor, torch.bfloat16, like.shape)
    found = _new_gradients(gradient, sequence, vectors, weights)
    given = [tensor.contiguous() for tensor in (gradient, sequence, vectors, weights)]  # until C is done
    program.call("average_backward", _sizes(sequence, vectors), *map(_pointer, (*given, *found)))
    return found


def _new_outputs(sequence: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    batch, tokens, _ = sequence.shape
    return vectors.new_empty(vectors.shape), sequence.new_empty(batch, tokens, vectors.shape[1])


def _new_gradients(
    gradient: Tensor,  # noqa: ARG001
    sequence: Tensor,
    vectors: Tensor,
    weights: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return sequence.new_empty(sequence.shape), vectors.new_empty(vectors.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else zeros are made for it, to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if gradient is None:  # nothing that was computed from it has one
        return None, None
    sequence, vectors, weights = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return tuple(_differentiable_backward(gradient, [sequence, vectors], ctx.needs_input_grad))
    backward = torch.ops.vision_transformers.token_means_backward.default
    found: tuple[Tensor, Tensor] = backward(gradient, sequence, vectors, weights)
    return found


def _differentiable_backward(
    gradient: Tensor, inputs: list[Tensor], are_wanted: Iterable[bool]
) -> list[Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    # Of views, since one input may be made from another one, or have hooks.
    inputs = [tensor.view_as(tensor) for tensor in inputs]
    sequence, vectors = inputs
    means = (vectors @ sequence.transpose(1, 2)).softmax(dim=2) @ sequence
    return wanted_gradients(means, inputs, are_wanted, gradient)


torch.library.register_fake(NAME, _new_outputs)
torch.library.register_fake(f"{NAME}_backward", _new_gradients)
torch.library.register_autograd(NAME, _backward, setup_context=_keep_for_backward)


@register_flop_formula(torch.ops.vision_transformers.token_means)
def _operations(sequence: tuple[int, ...], vectors: tuple[int, ...], **_: Any) -> int:
    """Of its two products, for PyTorch's counter, which would pass them by."""
    batch, tokens, dimension = sequence
    return 2 * 2 * batch * tokens * vectors[1] * dimension


@register_flop_formula(torch.ops.vision_transformers.token_means_backward)
def _operations_backward(
    gradient: Any,  # noqa: ARG001
    sequence: tuple[int, ...],
    vectors: tuple[int, ...],
    *_: Any,
    **__: Any,
) -> int:
    return 2 * _operations(sequence, vectors)


def _checked_program(sequence: Tensor, vectors: Tensor) -> Program:
    """Before memory is given to C."""
    program = program_here()
    if program is None:
        raise ValueError("token_means is not computed on this machine")
    if sequence.dim() != 3 or sequence.shape[2] == 0 or sequence.shape[2] % MULTIPLE:
        raise ValueError(
            f"token_means takes (batch, tokens, a multiple of {MULTIPLE}), not {tuple(sequence.shape)}"
        )
    if vectors.dim() != 3 or not 0 < vectors.shape[1] <= MOST_VECTORS:
        raise ValueError(
            f"token_means takes 1 to {MOST_VECTORS} vectors for an image, not {tuple(vectors.shape)}"
        )
    check_tensor(sequence, torch.bfloat16, sequence.shape)
    check_tensor(vectors, torch.bfloat16, (len(sequence), vectors.shape[1], sequence.shape[2]))
    return program


class _Sizes(ctypes.Structure):
    """As in the C file."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "tokens", "width", "vectors"))


def _sizes(sequence: Tensor, vectors: Tensor) -> Any:
    return ctypes.byref(_Sizes(*sequence.shape, vectors.shape[1]))


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
