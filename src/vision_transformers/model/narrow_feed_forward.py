"""A feed-forward network in bfloat16 on CPUs, through which a few tokens at a time go in the cache.

`narrow_feed_forward.c` computes; here it becomes an operator of PyTorch, differentiable and for
`torch.compile`. Signatures of operators are in plain types, from which PyTorch reads their schemas.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.native_operators import is_bfloat16_available, is_computed_here
from vision_transformers.model.plain import is_plain
from vision_transformers.native import load_native

SOURCE = Path(__file__).with_suffix(".c")
LANES = 16
"""Both dimensions are multiples of it."""
MOST_WEIGHTS = 192 * 768
"""Of a layer: with more, PyTorch learns faster (`python -m benchmarks.feed_forward_backends`)."""
MOST_WEIGHTS_PER_TOKEN = 256
"""With fewer tokens, it takes more time to lay out the weights, which each call does, than it saves."""


def is_served(
    sequence: Float[Tensor, "... model_dimension"],
    input_layer: nn.Module,
    activation: nn.Module,
    output_layer: nn.Module,
    dropout: nn.Module,
) -> bool:
    """Whether `transform` takes this, and is faster than what PyTorch has.

    Only where `is_computed_here`, where nothing is dropped, and where all weights are learned or no gradient
    is wanted: it computes all gradients or none.
    """
    are_plain = is_plain(input_layer) and is_plain(activation, nn.GELU) and is_plain(output_layer)
    drops_nothing = is_plain(dropout, nn.Dropout) and not (dropout.training and dropout.p)
    if not (
        are_plain and drops_nothing and is_computed_here(sequence)
    ):  # where it is not, sizes may not be asked for
        return False
    weights = [*input_layer.parameters(), *output_layer.parameters()]
    return (
        activation.approximate == "none"
        and len(weights) == 4  # both layers have a bias
        and _sizes_fit(sequence, weights[0])
        and _are_bfloat16([sequence, *weights])
        and _are_learned_together(sequence, weights)
        and is_available()
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_available() -> bool:
    """Whether this machine has the instructions, and a compiler."""
    return is_bfloat16_available(SOURCE)


def _sizes_fit(sequence: Tensor, input_weight: Tensor) -> bool:
    hidden, dimension = input_weight.shape
    are_lanes = dimension % LANES == hidden % LANES == 0
    tokens = sequence.numel() // dimension
    return are_lanes and hidden * dimension <= min(MOST_WEIGHTS, MOST_WEIGHTS_PER_TOKEN * tokens)


def _are_bfloat16(tensors: list[Tensor]) -> bool:
    """Whether a linear layer would compute in it."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return all(tensor.dtype == torch.bfloat16 for tensor in tensors)


def _are_learned_together(sequence: Tensor, weights: list[nn.Parameter]) -> bool:
    are_learned = [weight.requires_grad for weight in weights]
    wants_gradients = torch.is_grad_enabled() and (sequence.requires_grad or any(are_learned))
    return all(are_learned) or not wants_gradients


def transform(
    sequence: Float[Tensor, "... model_dimension"], input_layer: nn.Linear, output_layer: nn.Linear
) -> Float[Tensor, "... model_dimension"]:
    """output_layer(gelu(input_layer(sequence))), in bfloat16, of what `is_served` says."""
    layers = (input_layer.weight, input_layer.bias, output_layer.weight, output_layer.bias)
    tokens, *weights = (tensor.to(torch.bfloat16) for tensor in (sequence.flatten(0, -2), *layers))
    transformed, _ = narrow_feed_forward(tokens, *weights)
    return transformed.view(sequence.shape)


@torch.library.custom_op("vision_transformers::narrow_feed_forward", mutates_args=(), device_types="cpu")
def narrow_feed_forward(
    tokens: Tensor, input_weight: Tensor, input_bias: Tensor, output_weight: Tensor, output_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Two linear layers with GELU between them, all in bfloat16.

    Args:
        tokens: (tokens, model_dimension).
        input_weight, input_bias: (hidden_dimension, model_dimension) and (hidden_dimension,).
        output_weight, output_bias: (model_dimension, hidden_dimension) and (model_dimension,).

    Returns:
        The tokens, (tokens, model_dimension), and what was before the GELU, (tokens, hidden_dimension).

    Raises:
        ValueError: another type, a dimension that is no multiple of 16, or shapes that are not these.
    """
    given = (tokens, input_weight, input_bias, output_weight, output_bias)
    _check(*given)
    transformed, preactivations = _new_outputs(*given)
    tokens, *weights = (tensor.contiguous() for tensor in given)
    layers = _Layer.of(*weights[:2]), _Layer.of(*weights[2:])
    _call("feed_forward", len(tokens), *layers, tokens, preactivations, transformed)
    return transformed, preactivations


@torch.library.custom_op(
    "vision_transformers::narrow_feed_forward_backward", mutates_args=(), device_types="cpu"
)
def narrow_feed_forward_backward(
    gradient: Tensor, tokens: Tensor, preactivations: Tensor, input_weight: Tensor, output_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients with respect to what `narrow_feed_forward` takes, in its order."""
    given = (gradient, tokens, preactivations, input_weight, output_weight)
    gradients = _new_gradients(*given)
    gradient, tokens, preactivations, *weights = (tensor.contiguous() for tensor in given)
    layers = [_Layer.of(weight) for weight in weights]
    found = _Layer.of(*gradients[1:3]), _Layer.of(*gradients[3:])
    parts = (*layers, gradient, tokens, preactivations, *found, gradients[0])
    _call("feed_forward_backward", len(tokens), *parts)
    return gradients


@narrow_feed_forward.register_fake
def _new_outputs(
    tokens: Tensor,
    input_weight: Tensor,
    input_bias: Tensor,  # noqa: ARG001
    output_weight: Tensor,  # noqa: ARG001
    output_bias: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return tokens.new_empty(tokens.shape), tokens.new_empty(tokens.shape[0], input_weight.shape[0])


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


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    *inputs, preactivations = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return _differentiable_backward(gradient, inputs)
    tokens, input_weight, _, output_weight, _ = inputs
    weights = (input_weight, output_weight)
    found: tuple[Tensor, ...] = narrow_feed_forward_backward(gradient, tokens, preactivations, *weights)
    return found


def _differentiable_backward(gradient: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The same, of operators whose gradients have gradients."""
    tokens, input_weight, input_bias, output_weight, output_bias = inputs
    hidden = F.gelu(F.linear(tokens, input_weight, input_bias))
    transformed = F.linear(hidden, output_weight, output_bias)
    return torch.autograd.grad(transformed, inputs, gradient, create_graph=True)


narrow_feed_forward.register_autograd(_backward, setup_context=_keep_for_backward)


def _check(
    tokens: Tensor, input_weight: Tensor, input_bias: Tensor, output_weight: Tensor, output_bias: Tensor
) -> None:
    """Before their memory is given to C."""
    given = (tokens, input_weight, input_bias, output_weight, output_bias)
    hidden, dimension = input_weight.shape
    shapes = [(len(tokens), dimension), (hidden, dimension), (hidden,), (dimension, hidden), (dimension,)]
    if any(tensor.dtype != torch.bfloat16 for tensor in given):
        raise ValueError("narrow_feed_forward takes bfloat16")
    if hidden % LANES or dimension % LANES:
        raise ValueError(f"narrow_feed_forward takes multiples of {LANES}, not {dimension} and {hidden}")
    if [tensor.shape for tensor in given] != shapes:
        raise ValueError(f"shapes are {', '.join(str(tuple(tensor.shape)) for tensor in given)}")


class _Layer(ctypes.Structure):
    """As in the C file."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
    )

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> "_Layer":
        """Both contiguous, and alive until the call is over; backward needs no bias."""
        return cls(weight.data_ptr(), None if bias is None else bias.data_ptr(), *weight.shape)


def _call(name: str, tokens: int, *parts: _Layer | Tensor) -> None:
    """Calls a function of the C file with layers and contiguous tensors."""
    function = getattr(load_native(SOURCE), name)
    function.restype = None
    arguments = (
        ctypes.c_void_p(part.data_ptr()) if isinstance(part, Tensor) else ctypes.byref(part) for part in parts
    )
    function(ctypes.c_int64(tokens), *arguments)
