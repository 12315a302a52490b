"""A whole encoder in bfloat16 on CPUs with tiles (AMX), through which a few images at a time go in the cache.

`narrow_encoder.h` computes, by a C file for each type that tokens come in; here it becomes an operator of
PyTorch, differentiable and for `torch.compile`. Signatures are in plain types, from which PyTorch reads the
operators' schemas.
"""

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import register_flop_formula

from vision_transformers.model.kernels.layer_norm import Normalization
from vision_transformers.model.kernels.narrow_feed_forward import Layer
from vision_transformers.model.kernels.operators import (
    Program,
    are_learned_together,
    are_multiplied_in_bfloat16,
    check_tensor,
    constant_in_compiled_models,
    first_available,
    is_computed_here,
    wanted_gradients,
)
from vision_transformers.model.kernels.plain_encoder import PlainEncoder, is_plain_encoder

if TYPE_CHECKING:
    from vision_transformers.model.encoder import Encoder

MULTIPLE = 32
"""Of numbers are both widths, of a token and inside the feed-forward network."""
LEAST_TOKENS = 1024
"""Of all images: with fewer, the way into C and back, and what lays weights out, takes what is saved."""
MOST_TOKENS = 257
"""Of an image: more were not measured."""
MOST_WEIGHTS = 3 * 192 * 768
"""With more, the gradients that each thread adds up leave no room in the cache."""


@dataclass(frozen=True, kw_only=True)
class EncoderProgram(Program):
    """One for one type of tokens."""

    dtype: torch.dtype


HERE = Path(__file__).parent
PROGRAMS = tuple(
    EncoderProgram(
        source=HERE / f"narrow_encoder_of_{name}_tiles.c",
        instructions=("avx512_bf16", "amx_bf16"),
        dtype=dtype,
    )
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
)


def is_served(sequence: Float[Tensor, "batch tokens model_dimension"], encoder: "Encoder") -> bool:
    """Whether `encode` takes this, and is faster than what PyTorch has.

    Only where all of it `is_computed_here`, of an encoder that `is_plain_encoder`, and where all weights are
    learned or no gradient is wanted: it computes all gradients or none.
    """
    return (
        _are_tokens_served(sequence) and is_plain_encoder(encoder) and _is_encoder_served(sequence, encoder)
    )


def _are_tokens_served(sequence: Tensor) -> bool:
    """What is soon asked, and mostly answered by no: before each layer of the encoder is asked."""
    if sequence.device.type != "cpu" or not are_multiplied_in_bfloat16((sequence,), "cpu"):
        return False
    # First: in an export, asking for a size fixes it.
    if not is_computed_here(sequence) or sequence.dim() != 3:
        return False
    batch, tokens, _ = sequence.shape
    are_as_many = tokens <= MOST_TOKENS and batch * tokens >= LEAST_TOKENS
    return are_as_many and is_available(sequence.dtype)


def _is_encoder_served(sequence: Tensor, encoder: "Encoder") -> bool:
    parts = PlainEncoder.of(encoder)
    weights = list(parts.weights())
    width, hidden = parts.projection.out_features, parts.input_layer.out_features
    are_multiples = width % MULTIPLE == hidden % MULTIPLE == width % (2 * parts.number_of_heads) == 0
    return (
        sequence.shape[2] == width
        and are_multiples
        and width * (4 * width + 2 * hidden) <= MOST_WEIGHTS
        and is_computed_here(*weights)
        and are_multiplied_in_bfloat16(weights, "cpu")
        and are_learned_together(sequence, weights)
    )


@constant_in_compiled_models
def is_available(dtype: torch.dtype) -> bool:
    """Whether this machine has the instructions for such tokens, and a compiler."""
    return program_for(dtype) is not None


def program_for(dtype: torch.dtype) -> EncoderProgram | None:
    """The one that this machine encodes such tokens by; None without instructions or a compiler."""
    return first_available(program for program in PROGRAMS if program.dtype == dtype)


def encode(
    sequence: Float[Tensor, "batch tokens model_dimension"], encoder: "Encoder"
) -> Float[Tensor, "batch tokens model_dimension"]:
    """The tokens behind an encoder, of what `is_served` says."""
    parts = PlainEncoder.of(encoder)
    weights = list(parts.weights())
    is_learned = torch.is_grad_enabled() and weights[0].requires_grad
    given = [weight.to(dtype) for weight, dtype in zip(weights, _TYPES, strict=True)]
    epsilons = (parts.attention_normalization.eps, parts.feed_forward_normalization.eps)
    found: tuple[Tensor, ...] = torch.ops.vision_transformers.narrow_encoder.default(
        sequence, *given, parts.number_of_heads, *epsilons, is_learned
    )
    return found[0]


# Not by `torch.library.custom_op`, which imports all that compiles models when it is first called: seconds.
NAME = "vision_transformers::narrow_encoder"
WEIGHTS = tuple(f"{layer.name}_{part}" for layer in fields(PlainEncoder)[:-1] for part in ("weight", "bias"))
_TYPES = (torch.float32,) * 4 + (torch.bfloat16,) * 8
"""Of `WEIGHTS`: those of LayerNorms, and those of linear layers."""
KEPT = ("query_key_value", "attended", "sequence", "preactivations", "statistics")
"""What backward needs, as in `narrow_encoder.h`; empty where nothing is learned."""
_GIVEN = ", ".join(f"Tensor {name}" for name in ("input", *WEIGHTS))
_OPTIONS = "int heads, float attention_epsilon, float feed_forward_epsilon"
torch.library.define(
    NAME, f"({_GIVEN}, {_OPTIONS}, bool is_learned) -> ({', '.join(['Tensor'] * (1 + len(KEPT)))})"
)
torch.library.define(
    f"{NAME}_backward",
    f"(Tensor gradient, {', '.join(f'Tensor kept_{name}' for name in KEPT)}, {_GIVEN}, {_OPTIONS}) "
    f"-> ({', '.join(['Tensor'] * (1 + len(WEIGHTS)))})",
)


@torch.library.impl(NAME, "cpu")
def _encoded(input: Tensor, *given: Any) -> tuple[Tensor, ...]:
    *weights, heads, attention_epsilon, feed_forward_epsilon, is_learned = given
    program = _checked_program(input, weights, heads)
    input, *weights = (tensor.contiguous() for tensor in (input, *weights))
    encoder = _Encoder.of(weights, attention_epsilon, feed_forward_epsilon)
    out, *kept = _new_outputs(input, *given)
    parts = (encoder, _Sizes(*input.shape[:2], heads), input, _Kept.of(kept, is_learned), out)
    program.call("encode", *map(_argument, parts))
    return out, *kept


@torch.library.impl(f"{NAME}_backward", "cpu")
def _gradients(gradient: Tensor, *given: Any) -> tuple[Tensor, ...]:
    *tensors, heads, attention_epsilon, feed_forward_epsilon = given
    kept, input, weights = tensors[: len(KEPT)], tensors[len(KEPT)], tensors[len(KEPT) + 1 :]
    program = _checked_program(input, weights, heads)
    expected = _new_outputs(input, *weights, heads, attention_epsilon, feed_forward_epsilon, True)
    for tensor, like in zip((gradient, *kept), expected, strict=True):
        check_tensor(tensor, like.dtype, like.shape)
    gradient, input = gradient.contiguous(), input.contiguous()
    kept, weights = [[tensor.contiguous() for tensor in some] for some in (kept, weights)]
    encoder = _Encoder.of(weights, attention_epsilon, feed_forward_epsilon)
    of_input = torch.empty_like(input)
    of_normalizations = weights[0].new_empty(4, input.shape[2])
    of_layers = [torch.empty_like(weight) for weight in weights[4:]]
    found = _Encoder.of([*of_normalizations, *of_layers])
    sizes = _Sizes(*input.shape[:2], heads)
    parts = (encoder, sizes, gradient, input, _Kept.of(kept, True), found, of_normalizations, of_input)
    program.call("encode_backward", *map(_argument, parts))
    return of_input, *(each.clone() for each in of_normalizations), *of_layers


def _new_outputs(input: Tensor, *given: Any) -> tuple[Tensor, ...]:
    *weights, heads, _, _, is_learned = given
    batch, tokens, dimension = input.shape
    kept, hidden = batch if is_learned else 0, weights[8].shape[0]
    return (
        input.new_empty(batch, tokens, dimension),
        input.new_empty(kept, tokens, 3 * dimension, dtype=torch.bfloat16),
        input.new_empty(kept, tokens, dimension, dtype=torch.bfloat16),
        input.new_empty(kept, tokens, dimension),
        input.new_empty(kept, tokens, hidden, dtype=torch.bfloat16),
        input.new_empty(kept, heads, tokens, 2, dtype=torch.float32),
    )


def _new_gradients(gradient: Tensor, *given: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    return tuple(tensor.new_empty(tensor.shape) for tensor in given[len(KEPT) : -3])


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, heads, attention_epsilon, feed_forward_epsilon, _ = inputs
    ctx.options = (heads, attention_epsilon, feed_forward_epsilon)
    ctx.save_for_backward(*output[1:], *tensors)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # else zeros are made for them, to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if gradient is None:  # nothing that was computed from it has one
        return (None,) * len(ctx.needs_input_grad)
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        inputs = list(ctx.saved_tensors[len(KEPT) :])
        found = _differentiable_backward(gradient, inputs, ctx.options, ctx.needs_input_grad)
    else:
        backward = torch.ops.vision_transformers.narrow_encoder_backward.default
        found = backward(gradient, *ctx.saved_tensors, *ctx.options)
    return *found, None, None, None, None


def _differentiable_backward(
    gradient: Tensor,
    inputs: list[Tensor],
    options: tuple[int, float, float],
    are_wanted: Iterable[bool],
) -> list[Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    # Of views, since one input may be made from another one, or have hooks.
    inputs = [tensor.view_as(tensor) for tensor in inputs]
    return wanted_gradients(_written_out(*inputs, options=options), inputs, are_wanted, gradient)


def _written_out(input: Tensor, *weights: Tensor, options: tuple[int, float, float]) -> Tensor:
    """Equations 2 and 3."""
    heads, *epsilons = options
    norms, layers = weights[:4], weights[4:]

    def normalized(tokens: Tensor, number: int) -> Tensor:
        scale, shift = norms[2 * number : 2 * number + 2]
        found = F.layer_norm(tokens.float(), tokens.shape[-1:], scale, shift, epsilons[number])
        return found.to(torch.bfloat16)

    query_key_value = F.linear(normalized(input, 0), *layers[:2])
    parts = (part.transpose(1, 2) for part in query_key_value.unflatten(2, (3, heads, -1)).unbind(2))
    with sdpa_kernel(SDPBackend.MATH):
        attended = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
    sequence = input + F.linear(attended, *layers[2:4])
    hidden = F.gelu(F.linear(normalized(sequence, 1), *layers[4:6]))
    return sequence + F.linear(hidden, *layers[6:])


torch.library.register_fake(NAME, _new_outputs)
torch.library.register_fake(f"{NAME}_backward", _new_gradients)
torch.library.register_autograd(NAME, _backward, setup_context=_keep_for_backward)


@register_flop_formula(torch.ops.vision_transformers.narrow_encoder)
def _operations(input: tuple[int, ...], *shapes: Any, **_: Any) -> int:
    """Of its products, for PyTorch's counter, which would pass them by."""
    batch, tokens, dimension = input
    hidden = shapes[8][0]
    of_token = dimension * (4 * dimension + 2 * hidden) + 2 * tokens * dimension
    return 2 * batch * tokens * of_token


@register_flop_formula(torch.ops.vision_transformers.narrow_encoder_backward)
def _operations_backward(gradient: tuple[int, ...], *shapes: Any, **_: Any) -> int:
    """Of its products, without those that are computed anew."""
    return 2 * _operations(gradient, *shapes[len(KEPT) + 1 :])


def _checked_program(input: Tensor, weights: list[Tensor], heads: int) -> EncoderProgram:
    """Before memory is given to C."""
    program = program_for(input.dtype)
    if program is None:
        raise ValueError(f"narrow_encoder of {input.dtype} is not computed on this machine")
    if input.dim() != 3 or input.shape[1] == 0:
        raise ValueError(f"narrow_encoder takes (batch, tokens, model_dimension), not {tuple(input.shape)}")
    width, hidden = input.shape[-1], len(weights[8])
    if width == 0 or width % MULTIPLE or hidden % MULTIPLE or heads < 1 or width % (2 * heads):
        raise ValueError(
            f"narrow_encoder takes widths that are multiples of {MULTIPLE}, and heads of an even width, not "
            f"{width}, {hidden} and {heads} heads"
        )
    of_layers = [(3 * width, width), (width, width), (hidden, width), (width, hidden)]
    shapes = [(width,)] * 4 + [shape for layer in of_layers for shape in (layer, layer[:1])]
    for weight, dtype, shape in zip(weights, _TYPES, shapes, strict=True):
        check_tensor(weight, dtype, shape)
    return program


class _Encoder(ctypes.Structure):
    """As in `narrow_encoder.h`."""

    _fields_ = tuple(
        (layer.name, Normalization if layer.name.endswith("normalization") else Layer)
        for layer in fields(PlainEncoder)[:-1]
    )

    @classmethod
    def of(
        cls, weights: list[Tensor], attention_epsilon: float = 0.0, feed_forward_epsilon: float = 0.0
    ) -> "_Encoder":
        """Of contiguous tensors in the order of `WEIGHTS`, alive until the call is over."""
        pairs = list(zip(weights[::2], weights[1::2], strict=True))
        (first, second), layers = pairs[:2], pairs[2:]
        return cls(
            Normalization.of(*first, epsilon=attention_epsilon),
            Normalization.of(*second, epsilon=feed_forward_epsilon),
            *(Layer.of(*pair) for pair in layers),
        )


class _Sizes(ctypes.Structure):
    """As in `narrow_encoder.h`."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "tokens", "heads"))


class _Kept(ctypes.Structure):
    """As in `narrow_encoder.h`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in KEPT)

    @classmethod
    def of(cls, kept: list[Tensor], is_learned: bool) -> "_Kept":
        """Memory for nothing where nothing is learned."""
        return cls(*(tensor.data_ptr() if is_learned else None for tensor in kept))


def _argument(part: Any) -> Any:
    return ctypes.c_void_p(part.data_ptr()) if isinstance(part, Tensor) else ctypes.byref(part)
