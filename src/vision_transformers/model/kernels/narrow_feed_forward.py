"""A feed-forward network in bfloat16 on CPUs, through which a few tokens at a time go in the cache.

`narrow_feed_forward.h` computes, with products of matrices by one of two C files; here it becomes an operator
of PyTorch, differentiable and for `torch.compile`. Signatures of operators are in plain types, from which
PyTorch reads their schemas.
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
from torch.utils.flop_counter import register_flop_formula

from vision_transformers.model.kernels.operators import (
    Program,
    are_learned_together,
    are_multiplied_in_bfloat16,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
    wanted_gradients,
    wants_gradients,
)
from vision_transformers.model.kernels.tiled_linear import weight_gradient
from vision_transformers.model.plain import is_plain


@dataclass(frozen=True, kw_only=True)
class FeedForwardProgram(Program):
    """One for some widths, as measured by `python -m benchmarks.feed_forward_backends`."""

    multiple: int
    """Both dimensions are multiples of it."""
    most_weights: int
    """Of a layer: with more, PyTorch learns faster, or it was not measured."""
    most_weights_inferred: int
    """With more, PyTorch infers faster, at least where models are compiled."""
    most_weights_added_up: int | None = None
    """With more, `tiled_linear.weight_gradient` finds those of weights; else each thread adds up its own."""
    most_weights_of_a_token: int
    """With more for each token, it takes more time to lay them out, which each call does, than it saves."""


HERE = Path(__file__).parent
PROGRAMS = (
    FeedForwardProgram(
        source=HERE / "narrow_feed_forward_tiles.c",
        instructions=("avx512_bf16", "amx_bf16"),
        multiple=32,
        most_weights=384 * 1536,
        most_weights_inferred=192 * 384,
        most_weights_added_up=192 * 384,
        most_weights_of_a_token=256,
    ),
    FeedForwardProgram(
        source=HERE / "narrow_feed_forward_registers.c",
        instructions=("avx512_bf16",),
        superseded_by="amx_bf16",
        multiple=16,
        most_weights=192 * 768,
        most_weights_inferred=192 * 768,
        most_weights_of_a_token=256,
    ),
)


def is_served(
    sequence: Float[Tensor, "... model_dimension"],
    input_layer: nn.Module,
    activation: nn.Module,
    output_layer: nn.Module,
    dropout: nn.Module,
) -> bool:
    """Whether `transform` takes this, and is faster than what PyTorch has.

    Only where all of it `is_computed_here`, where nothing is dropped, and where all weights are learned or no
    gradient is wanted: it computes all gradients or none.
    """
    if sequence.device.type != "cpu":  # first, since a GPU waits for each of these questions
        return False
    are_plain = is_plain(input_layer) and is_plain(activation, nn.GELU) and is_plain(output_layer)
    drops_nothing = is_plain(dropout, nn.Dropout) and not (dropout.training and dropout.p)
    weights = [*input_layer.parameters(), *output_layer.parameters()]
    # First: in an export, asking for a size fixes it.
    if not (are_plain and drops_nothing and is_computed_here(sequence, *weights)):
        return False
    return (
        activation.approximate == "none"
        and len(weights) == 4  # both layers have a bias
        and are_multiplied_in_bfloat16([sequence, *weights], "cpu")
        and are_learned_together(sequence, weights)
        and is_available()
        and _sizes_fit(sequence, weights[0], weights[2], _most_weights(wants_gradients(sequence, *weights)))
    )


@constant_in_compiled_models
def is_available() -> bool:
    """Whether this machine has the instructions, and a compiler."""
    return program_here() is not None


def program_here() -> FeedForwardProgram | None:
    """The one that this machine computes by; None without instructions or a compiler."""
    return first_available(PROGRAMS)


def _sizes_fit(sequence: Tensor, input_weight: Tensor, output_weight: Tensor, most_weights: int) -> bool:
    multiple, most_weights_of_a_token = _limits()
    hidden, dimension = input_weight.shape
    are_multiples = dimension % multiple == hidden % multiple == 0
    belong_together = output_weight.shape == (dimension, hidden) and sequence.shape[-1] == dimension
    few_weights = min(most_weights, most_weights_of_a_token * (sequence.numel() // dimension))
    return are_multiples and belong_together and hidden * dimension <= few_weights


@constant_in_compiled_models
def _limits() -> tuple[int, int]:
    return _program().multiple, _program().most_weights_of_a_token


@constant_in_compiled_models
def _most_weights(is_learned: bool) -> int:
    return _program().most_weights if is_learned else _program().most_weights_inferred


def transform(
    sequence: Float[Tensor, "... model_dimension"], input_layer: nn.Linear, output_layer: nn.Linear
) -> Float[Tensor, "... model_dimension"]:
    """output_layer(gelu(input_layer(sequence))), in bfloat16, of what `is_served` says."""
    tokens = sequence.reshape(-1, sequence.shape[-1])
    layers = (input_layer.weight, input_layer.bias, output_layer.weight, output_layer.bias)
    given = [tensor.to(torch.bfloat16) for tensor in (tokens, *layers)]
    transformed, _ = narrow_feed_forward(*given, torch.is_grad_enabled() and layers[0].requires_grad)
    return transformed.view(sequence.shape)


@torch.library.custom_op("vision_transformers::narrow_feed_forward", mutates_args=(), device_types="cpu")
def narrow_feed_forward(
    tokens: Tensor,
    input_weight: Tensor,
    input_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor,
    is_learned: bool = True,
) -> tuple[Tensor, Tensor]:
    """Two linear layers with GELU between them, all in bfloat16.

    Args:
        tokens: (tokens, model_dimension).
        input_weight, input_bias: (hidden_dimension, model_dimension) and (hidden_dimension,).
        output_weight, output_bias: (model_dimension, hidden_dimension) and (model_dimension,).
        is_learned: whether gradients may be asked for.

    Returns:
        The tokens, (tokens, model_dimension), and for backward alone what was before the GELU, (tokens,
        hidden_dimension); empty if nothing is learned.

    Raises:
        ValueError: another type, a dimension that is no multiple of what the machine takes (32 with AMX, else
            16), or shapes that are not these.
    """
    given = (tokens, input_weight, input_bias, output_weight, output_bias)
    hidden, dimension = input_weight.shape
    shapes = ((len(tokens), dimension), (hidden, dimension), (hidden,), (dimension, hidden), (dimension,))
    _check(given, shapes)
    transformed, preactivations = _new_outputs(*given, is_learned)
    tokens, *weights = (tensor.contiguous() for tensor in given)
    layers = Layer.of(*weights[:2]), Layer.of(*weights[2:])
    kept = preactivations if is_learned else None
    _call("feed_forward", len(tokens), *layers, tokens, kept, transformed)
    return transformed, preactivations


@torch.library.custom_op(
    "vision_transformers::narrow_feed_forward_backward", mutates_args=(), device_types="cpu"
)
def narrow_feed_forward_backward(
    gradient: Tensor, tokens: Tensor, preactivations: Tensor, input_weight: Tensor, output_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients with respect to tokens, weights and biases, in the order of `narrow_feed_forward`.

    Raises:
        ValueError: as there.
    """
    given = (gradient, tokens, preactivations, input_weight, output_weight)
    hidden, dimension = input_weight.shape
    of_tokens = (len(tokens), dimension)
    _check(given, (of_tokens, of_tokens, (len(tokens), hidden), (hidden, dimension), (dimension, hidden)))
    gradient, tokens, preactivations, *weights = (tensor.contiguous() for tensor in given)
    layers = [Layer.of(weight) for weight in weights]
    most_added_up = _program().most_weights_added_up
    if most_added_up is None or input_weight.numel() <= most_added_up:
        gradients = _new_gradients(*given)
        found = Layer.of(*gradients[1:3]), Layer.of(*gradients[3:])
        parts = (gradient, tokens, preactivations, *found, gradients[0])
        _call("feed_forward_backward", len(tokens), *layers, *parts)
        return gradients
    found_here = [torch.empty_like(tensor) for tensor in (preactivations, preactivations, tokens)]
    _call("feed_forward_backward_of_tokens", len(tokens), *layers, gradient, preactivations, *found_here)
    activations, before, of_input = found_here
    return of_input, *weight_gradient(before, tokens), *weight_gradient(gradient, activations)


@narrow_feed_forward.register_fake
def _new_outputs(
    tokens: Tensor,
    input_weight: Tensor,
    input_bias: Tensor,  # noqa: ARG001
    output_weight: Tensor,  # noqa: ARG001
    output_bias: Tensor,  # noqa: ARG001
    is_learned: bool = True,
) -> tuple[Tensor, Tensor]:
    kept = tokens.shape[0] if is_learned else 0
    return tokens.new_empty(tokens.shape), tokens.new_empty(kept, input_weight.shape[0])


@narrow_feed_forward_backward.register_fake
def _new_gradients(
    gradient: Tensor,
    tokens: Tensor,  # noqa: ARG001
    preactivations: Tensor,  # noqa: ARG001
    input_weight: Tensor,
    output_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    of_input_layer = gradient.new_empty(input_weight.shape), gradient.new_empty(input_weight.shape[0])
    of_output_layer = gradient.new_empty(output_weight.shape), gradient.new_empty(output_weight.shape[0])
    return gradient.new_empty(gradient.shape), *of_input_layer, *of_output_layer


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else zeros, as large as that, are made to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if gradient is None:  # nothing that was computed from it has one
        return (None,) * len(ctx.needs_input_grad)
    *inputs, preactivations = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return *_differentiable_backward(gradient, inputs, ctx.needs_input_grad), None
    tokens, input_weight, _, output_weight, _ = inputs
    weights = (input_weight, output_weight)
    return *narrow_feed_forward_backward(gradient, tokens, preactivations, *weights), None


def _differentiable_backward(
    gradient: Tensor, inputs: list[Tensor], are_wanted: Iterable[bool]
) -> list[Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    # Of views, since one input may be made from another one, or have hooks.
    inputs = [tensor.view_as(tensor) for tensor in inputs]
    tokens, input_weight, input_bias, output_weight, output_bias = inputs
    hidden = F.gelu(F.linear(tokens, input_weight, input_bias))
    transformed = F.linear(hidden, output_weight, output_bias)
    return wanted_gradients(transformed, inputs, are_wanted, gradient)


narrow_feed_forward.register_autograd(_backward, setup_context=_keep_for_backward)


@register_flop_formula(torch.ops.vision_transformers.narrow_feed_forward)
def _operations(tokens: tuple[int, ...], input_weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Of its two products, for PyTorch's counter, which would pass it by."""
    hidden, dimension = input_weight
    return 2 * 2 * tokens[0] * hidden * dimension


@register_flop_formula(torch.ops.vision_transformers.narrow_feed_forward_backward)
def _operations_backward(
    gradient: Any,  # noqa: ARG001
    tokens: tuple[int, ...],
    preactivations: Any,  # noqa: ARG001
    input_weight: tuple[int, ...],
    *_: Any,
    **__: Any,
) -> int:
    return 2 * _operations(tokens, input_weight)


def _check(tensors: Iterable[Tensor], shapes: Iterable[tuple[int, ...]]) -> None:
    """Before their memory is given to C."""
    multiple = _program().multiple
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor.dtype != torch.bfloat16 or shape[-1] % multiple:
            raise ValueError(
                f"expected bfloat16 and multiples of {multiple}, not {tensor.dtype} and {shape[-1]}"
            )
        if tensor.shape != shape:
            raise ValueError(f"expected the shape {shape}, not {tuple(tensor.shape)}")


class Layer(ctypes.Structure):
    """As in the C file."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
    )

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> "Layer":
        """Both contiguous, and alive until the call is over; backward needs no bias."""
        return cls(weight.data_ptr(), None if bias is None else bias.data_ptr(), *weight.shape)


def _call(name: str, tokens: int, *parts: Layer | Tensor | None) -> None:
    """Calls a function of `narrow_feed_forward.h` with layers and contiguous tensors."""
    _program().call(name, ctypes.c_int64(tokens), *map(_argument, parts))


def _program() -> FeedForwardProgram:
    program = program_here()
    if program is None:
        raise ValueError("narrow_feed_forward is not computed on this machine")
    return program


def _argument(part: Layer | Tensor | None) -> Any:
    if isinstance(part, Tensor):
        return ctypes.c_void_p(part.data_ptr())
    return None if part is None else ctypes.byref(part)
