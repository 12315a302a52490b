"""Attention of short sequences on CPUs: the scores never leave the processor's cache.

`short_attention.h` computes, for each type of numbers by a C file of its own; here it becomes an operator of
PyTorch, differentiable and for `torch.compile`. Signatures are in plain types, from which PyTorch reads the
operators' schemas.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import register_flop_formula

from vision_transformers.model.kernels.operators import (
    Program,
    check_tensor,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
)


@dataclass(frozen=True, kw_only=True)
class AttentionProgram(Program):
    """One for one type of numbers, as measured by `python -m benchmarks.attention_backends`."""

    dtype: torch.dtype
    most_tokens: int


HERE = Path(__file__).parent
PROGRAMS = (
    AttentionProgram(
        source=HERE / "short_attention_tiles.c",
        instructions=("avx512_bf16", "amx_bf16"),
        dtype=torch.bfloat16,
        most_tokens=1025,
    ),
    AttentionProgram(
        source=HERE / "short_attention_bfloat16.c",
        instructions=("avx512_bf16",),
        superseded_by="amx_bf16",
        dtype=torch.bfloat16,
        most_tokens=1025,
    ),
    AttentionProgram(
        source=HERE / "short_attention_float32.c",
        instructions=("avx2", "fma"),
        dtype=torch.float32,
        most_tokens=577,
    ),
)
MULTIPLES = {torch.bfloat16: 2, torch.float32: 1}
"""Of what the width of a head and the distance of tokens are multiples: bfloat16 is taken in pairs."""


def is_served(query_key_value: Tensor) -> bool:
    """Whether `short_attention` takes this, and is faster than what PyTorch has.

    Only where `is_computed_here`.
    """
    if not is_computed_here(query_key_value):  # first: in an export, asking for a size fixes it
        return False
    if query_key_value.dtype not in MULTIPLES or not _lies_well(query_key_value):
        return False
    return query_key_value.shape[1] <= _most_tokens(query_key_value.dtype)


def is_available(dtype: torch.dtype) -> bool:
    """Whether this machine has the instructions for these numbers, and a compiler."""
    return program_for(dtype) is not None


@constant_in_compiled_models
def _most_tokens(dtype: torch.dtype) -> int:
    program = program_for(dtype)
    return 0 if program is None else program.most_tokens


def program_for(dtype: torch.dtype) -> AttentionProgram | None:
    """The one that this machine computes these numbers by; None without instructions or a compiler."""
    return first_available(program for program in PROGRAMS if program.dtype == dtype)


def suits_processor(dtype: torch.dtype) -> bool:
    """Whether it would be used here, if there were a compiler."""
    return any(program.dtype == dtype and program.suits_processor() for program in PROGRAMS)


def short_attention(query_key_value: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 7, softmax(q k^T / sqrt(D_h)) v, in bfloat16 or float32.

    Args:
        query_key_value: (batch, tokens, 3, heads, head_dimension), as one linear layer gives the three.

    Returns:
        The weighted values, (batch, tokens, heads, head_dimension), and what backward needs of each row of
        scores, (batch, heads, tokens, 2): its greatest, and one over the sum of its weights.

    Raises:
        ValueError: another type, or another layout than `is_served` asks for.
    """
    found: tuple[Tensor, Tensor] = torch.ops.vision_transformers.short_attention.default(query_key_value)
    return found


def short_attention_backward(
    gradient: Tensor, query_key_value: Tensor, attended: Tensor, statistics: Tensor
) -> Tensor:
    """The gradient with respect to `query_key_value`, from what `short_attention` gave.

    Raises:
        ValueError: as there, or shapes that are not those of its outputs.
    """
    found: Tensor = torch.ops.vision_transformers.short_attention_backward.default(
        gradient, query_key_value, attended, statistics
    )
    return found


# Not by `torch.library.custom_op`, which imports all that compiles models when it is first called: seconds.
NAME = "vision_transformers::short_attention"
torch.library.define(NAME, "(Tensor query_key_value) -> (Tensor, Tensor)")
torch.library.define(
    f"{NAME}_backward",
    "(Tensor gradient, Tensor query_key_value, Tensor attended, Tensor statistics) -> Tensor",
)


@torch.library.impl(NAME, "cpu")
def _attended(query_key_value: Tensor) -> tuple[Tensor, Tensor]:
    _check(query_key_value)
    attended, statistics = _new_outputs(query_key_value)
    _call("attend", query_key_value, [*query_key_value.unbind(2), attended], statistics)
    return attended, statistics


@torch.library.impl(f"{NAME}_backward", "cpu")
def _gradient(gradient: Tensor, query_key_value: Tensor, attended: Tensor, statistics: Tensor) -> Tensor:
    _check(query_key_value)
    batch, tokens, _, heads, dimension = query_key_value.shape
    of_output = [gradient, attended]
    for tensor in of_output:
        check_tensor(tensor, query_key_value.dtype, (batch, tokens, heads, dimension))
    check_tensor(statistics, torch.float32, (batch, heads, tokens, 2))
    gradient, attended = (tensor if _lies_well(tensor) else tensor.contiguous() for tensor in of_output)
    statistics = statistics.contiguous()
    found = torch.empty_like(query_key_value)
    parts = [*query_key_value.unbind(2), attended, gradient, *found.unbind(2)]
    _call("attend_backward", query_key_value, parts, statistics)
    return found


def _new_outputs(query_key_value: Tensor) -> tuple[Tensor, Tensor]:
    batch, tokens, _, heads, dimension = query_key_value.shape
    attended = query_key_value.new_empty(batch, tokens, heads, dimension)
    return attended, query_key_value.new_empty(batch, heads, tokens, 2, dtype=torch.float32)


def _new_gradient(
    gradient: Tensor,  # noqa: ARG001
    query_key_value: Tensor,
    attended: Tensor,  # noqa: ARG001
    statistics: Tensor,  # noqa: ARG001
) -> Tensor:
    return torch.empty_like(query_key_value)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else zeros are made for it, to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, _: None) -> Tensor | None:
    if gradient is None:  # nothing that was computed from it has one
        return None
    query_key_value, attended, statistics = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return _differentiable_backward(gradient, query_key_value)
    found: Tensor = short_attention_backward(gradient, query_key_value, attended, statistics)
    return found


def _differentiable_backward(gradient: Tensor, query_key_value: Tensor) -> Tensor:
    """The same, of operators whose gradients have gradients."""
    query_key_value = query_key_value.view_as(query_key_value)  # hooks on what was given are not run by this
    queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
    with sdpa_kernel(SDPBackend.MATH):
        attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
    (found,) = torch.autograd.grad(attended, query_key_value, gradient, create_graph=True)
    return found


torch.library.register_fake(NAME, _new_outputs)
torch.library.register_fake(f"{NAME}_backward", _new_gradient)
torch.library.register_autograd(NAME, _backward, setup_context=_keep_for_backward)


@register_flop_formula(torch.ops.vision_transformers.short_attention)
def _operations(query_key_value: tuple[int, ...], **_: Any) -> int:
    """Of its two products, for PyTorch's counter, which would pass it by."""
    batch, tokens, _three, heads, dimension = query_key_value
    return 2 * 2 * batch * heads * tokens * tokens * dimension


@register_flop_formula(torch.ops.vision_transformers.short_attention_backward)
def _operations_backward(gradient: Any, query_key_value: tuple[int, ...], *_: Any, **__: Any) -> int:  # noqa: ARG001
    """Of its four products, without those that are computed anew."""
    return 2 * _operations(query_key_value)


def _check(query_key_value: Tensor) -> None:
    """Before its memory is given to C."""
    if query_key_value.dtype not in MULTIPLES or not _lies_well(query_key_value):
        raise ValueError(
            "short_attention takes float32, or bfloat16 of an even width, with heads contiguous in memory"
        )


def _lies_well(tensor: Tensor) -> bool:
    """Whether heads are contiguous, and can be taken as the C file takes them."""
    multiple = MULTIPLES[tensor.dtype]
    return tensor.stride(-1) == 1 and tensor.stride(1) % multiple == tensor.shape[-1] % multiple == 0


class _Tensor(ctypes.Structure):
    """As in `short_attention.h`."""

    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "head", "token")))


class _Sizes(ctypes.Structure):
    """As in `short_attention.h`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "heads", "tokens", "dimension")),
        ("scale", ctypes.c_float),
    )


def _call(name: str, query_key_value: Tensor, tensors: list[Tensor], statistics: Tensor) -> None:
    """Calls a function of `short_attention.h`: tensors are (batch, tokens, heads, head_dimension)."""
    batch, tokens, _, heads, dimension = query_key_value.shape
    sizes = _Sizes(batch, heads, tokens, dimension, dimension**-0.5)
    described = [
        _Tensor(tensor.data_ptr(), tensor.stride(0), tensor.stride(2), tensor.stride(1)) for tensor in tensors
    ]
    pointers = [ctypes.byref(tensor) for tensor in described]
    program = program_for(query_key_value.dtype)
    if program is None:
        raise ValueError(f"short_attention of {query_key_value.dtype} is not computed on this machine")
    program.call(name, ctypes.byref(sizes), ctypes.c_void_p(statistics.data_ptr()), *pointers)
