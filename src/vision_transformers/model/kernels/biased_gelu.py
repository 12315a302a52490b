"""GELU of a linear layer in bfloat16 on GPUs, with the layer's bias inside.

`biased_gelu_kernels.py` computes; here it becomes an operator of PyTorch, differentiable and for
`torch.compile`. Signatures of operators are in plain types, from which PyTorch reads their schemas.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.kernels.operators import (
    are_multiplied_in_bfloat16,
    is_computed_here,
    is_triton_available,
    wanted_gradients,
)
from vision_transformers.model.kernels.tiled_linear import linear
from vision_transformers.model.plain import is_plain


def activated(
    sequence: Float[Tensor, "... model_dimension"], layer: nn.Linear, activation: nn.Module
) -> Float[Tensor, "... hidden_dimension"]:
    """activation(layer(sequence)), in one kernel of a GPU where it `is_served`."""
    if is_served(sequence, layer, activation):
        return activate(sequence, layer)
    return activation(linear(sequence, layer))


def is_served(
    sequence: Float[Tensor, "... model_dimension"], layer: nn.Module, activation: nn.Module
) -> bool:
    """Whether `activate` takes this: exact GELU in bfloat16, where it `is_computed_here`."""
    if not (sequence.is_cuda and is_plain(layer) and is_plain(activation, nn.GELU)):
        return False
    tensors = [sequence, *layer.parameters()]
    if not is_computed_here(*tensors, device="cuda"):
        return False
    has_bias = len(tensors) == 3
    fits = has_bias and activation.approximate == "none" and sequence.numel() > 0
    return fits and are_multiplied_in_bfloat16(tensors, "cuda") and is_triton_available(sequence.device)


def activate(
    sequence: Float[Tensor, "... model_dimension"], layer: nn.Linear
) -> Float[Tensor, "... hidden_dimension"]:
    """gelu(layer(sequence)), of what `is_served` says."""
    return biased_gelu(F.linear(sequence, layer.weight), layer.bias)


@torch.library.custom_op("vision_transformers::biased_gelu", mutates_args=(), device_types="cuda")
def biased_gelu(product: Tensor, bias: Tensor) -> Tensor:
    """gelu(product + bias), computed in float32.

    Args:
        product: (..., hidden_dimension), in bfloat16.
        bias: (hidden_dimension,), of any floating type.

    Raises:
        ValueError: another type, or shapes that do not fit each other.
    """
    _check(product, bias)
    result = _new_result(product, bias)
    from vision_transformers.model.kernels import biased_gelu_kernels as kernels

    with torch.cuda.device(product.device):
        kernels.gelu(product.contiguous(), bias.contiguous(), result)
    return result


@torch.library.custom_op("vision_transformers::biased_gelu_backward", mutates_args=(), device_types="cuda")
def biased_gelu_backward(gradient: Tensor, product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to `product` and `bias`.

    Raises:
        ValueError: as there, or a gradient of another type or shape.
    """
    _check(product, bias)
    if (gradient.shape, gradient.dtype, gradient.device) != (product.shape, product.dtype, product.device):
        raise ValueError(f"gradient is {gradient.dtype} of {tuple(gradient.shape)}, unlike the product")
    found, of_bias = _new_gradients(gradient, product, bias)
    from vision_transformers.model.kernels import biased_gelu_kernels as kernels

    gradient, product, to_find = (
        tensor.contiguous().view(-1, len(bias)) for tensor in (gradient, product, found)
    )
    with torch.cuda.device(product.device):
        parts = kernels.gelu_backward(gradient, product, bias.contiguous(), to_find)
    of_bias.copy_(parts.sum(0))
    return found, of_bias


@biased_gelu.register_fake
def _new_result(product: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG001
    return product.new_empty(product.shape)


@biased_gelu_backward.register_fake
def _new_gradients(gradient: Tensor, product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return product.new_empty(product.shape), bias.new_empty(bias.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    product, bias = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return _differentiable_backward(gradient, product, bias, ctx.needs_input_grad)
    found: tuple[Tensor, Tensor] = biased_gelu_backward(gradient, product, bias)
    return found


def _differentiable_backward(
    gradient: Tensor, product: Tensor, bias: Tensor, are_wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The same, of operators whose gradients have gradients."""
    inputs = [product.view_as(product), bias.view_as(bias)]  # hooks on what was given are not run by this
    activated = F.gelu(inputs[0] + inputs[1].to(product.dtype))
    of_product, of_bias = wanted_gradients(activated, inputs, are_wanted, gradient)
    return of_product, of_bias


biased_gelu.register_autograd(_backward, setup_context=_keep_for_backward)


def _check(product: Tensor, bias: Tensor) -> None:
    """Before their memory is given to kernels."""
    if product.dtype != torch.bfloat16:
        raise ValueError(f"biased_gelu takes bfloat16, not {product.dtype}")
    if bias.shape != product.shape[-1:] or bias.device != product.device:
        raise ValueError(f"bias is {tuple(bias.shape)} on {bias.device}, for {tuple(product.shape)}")
