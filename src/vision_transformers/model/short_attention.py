"""Attention of short sequences in bfloat16 on CPUs: the scores never leave the processor's cache.

`short_attention.c` computes; here it becomes an operator of PyTorch, differentiable and for `torch.compile`.
"""

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vision_transformers.native import load_native

MOST_TOKENS = 256
"""Up to as many as were measured: `python -m benchmarks.attention_backends`."""


def is_served(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether `short_attention` takes these, and is faster than what PyTorch has."""
    parts = (queries, keys, values)
    fits = all(
        part.device.type == "cpu" and part.dtype == torch.bfloat16 and _lies_well(part) for part in parts
    )
    return fits and max(queries.shape[2], keys.shape[2]) <= MOST_TOKENS and is_available()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_available() -> bool:
    """Whether this machine has the instructions, and a compiler."""
    return _is_available()


@functools.cache
def _is_available() -> bool:
    return sys.platform == "linux" and torch.cpu._is_avx512_bf16_supported() and _library() is not None


@torch.library.custom_op("vision_transformers::short_attention", mutates_args=(), device_types="cpu")
def short_attention(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 7, softmax(q k^T / sqrt(D_h)) v, of (batch, heads, tokens, head_dimension) in bfloat16.

    Returns:
        The weighted values, laid out as (batch, tokens, heads, head_dimension), and what backward needs of
        each row of scores: its greatest, as an exponent of 2, and one over its sum.
    """
    attended, statistics = _new_outputs(queries, keys, values)
    _call("attend", queries, keys, [queries, keys, values, attended, statistics])
    return attended, statistics


@torch.library.custom_op("vision_transformers::short_attention_backward", mutates_args=(), device_types="cpu")
def short_attention_backward(
    gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to queries, keys and values."""
    gradient = gradient if _lies_well(gradient) else gradient.contiguous()
    gradients = _new_gradients(gradient, queries, keys, values, statistics)
    parts = [queries, keys, values, gradient, statistics, *gradients]
    _call("attend_backward", queries, keys, parts)
    return gradients


@short_attention.register_fake
def _new_outputs(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _empty_beside_heads(queries), queries.new_empty(*queries.shape[:3], 2, dtype=torch.float32)


@short_attention_backward.register_fake
def _new_gradients(
    gradient: Tensor,  # noqa: ARG001 - the operator's arguments
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    statistics: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_beside_heads(queries), _empty_beside_heads(keys), _empty_beside_heads(values)


def _keep_for_backward(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]
) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = short_attention_backward(gradient, *ctx.saved_tensors)
    return gradients


short_attention.register_autograd(_backward, setup_context=_keep_for_backward)


def _empty_beside_heads(like: Tensor) -> Tensor:
    """(batch, heads, tokens, head_dimension), where the heads of a token lie side by side."""
    _, heads, tokens, dimension = like.shape
    strides = (tokens * heads * dimension, dimension, heads * dimension, 1)
    return like.new_empty_strided(like.shape, strides)


def _lies_well(tensor: Tensor) -> bool:
    """Whether heads are contiguous, and tokens an even number of elements apart: they are taken in pairs."""
    return tensor.stride(3) == 1 and tensor.stride(2) % 2 == 0 and tensor.shape[3] % 2 == 0


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "head", "token")))


class _Sizes(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "dimension")),
        ("scale", ctypes.c_float),
    )


def _library() -> ctypes.CDLL | None:
    return load_native(Path(__file__).with_suffix(".c"))


def _call(name: str, queries: Tensor, keys: Tensor, tensors: list[Tensor]) -> None:
    """Calls a function of the C file; float32 tensors go as addresses, the others with their strides."""
    sizes = _Sizes(*queries.shape[:3], keys.shape[2], queries.shape[3], queries.shape[3] ** -0.5)
    arguments = [
        ctypes.c_void_p(tensor.data_ptr())
        if tensor.dtype == torch.float32
        else ctypes.byref(_Tensor(tensor.data_ptr(), *tensor.stride()[:3]))
        for tensor in tensors
    ]
    function = getattr(_library(), name)
    function.restype = None
    function(ctypes.byref(sizes), *arguments)
