"""Attention of short sequences in bfloat16 on GPUs, of queries, keys and values in one tensor.

`packed_attention_kernels.py` and `packed_attention_backward_kernels.py` compute; here that becomes an
operator of PyTorch, differentiable and for `torch.compile`. What PyTorch has is made for long sequences: it
computes in tiles of 64 or 128 tokens and gives three gradients, which are then put together, and read again
for the biases' gradient. Here one tensor comes out, and the biases' gradient with it. Signatures of operators
are in plain types, from which PyTorch reads their schemas.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.model.kernels.operators import (
    are_multiplied_in_bfloat16,
    is_computed_here,
    is_triton_available,
)
from vision_transformers.model.plain import is_plain

MOST_TOKENS = {16: 128, 32: 128, 64: 256}
"""By the width of a head, where gradients are wanted (`python -m benchmarks.gpu_kernels`)."""
MOST_TOKENS_WITHOUT_GRADIENTS = 128
"""With 197, PyTorch's attention alone takes as long; what comes after its gradient takes longer."""
FAR = 2**31
"""Places inside an image are counted in 32 bits."""


def is_served(
    sequence: Float[Tensor, "batch tokens model_dimension"], query_key_value: nn.Linear, number_of_heads: int
) -> bool:
    """Whether `attend` takes this: short sequences in bfloat16, where it `is_computed_here`."""
    if not (sequence.is_cuda and is_plain(query_key_value)):
        return False
    tensors = [sequence, *query_key_value.parameters()]
    if not is_computed_here(*tensors, device="cuda"):  # first: in an export, asking for a size fixes it
        return False
    most = MOST_TOKENS.get(query_key_value.out_features // (3 * number_of_heads), 0)
    if not torch.is_grad_enabled():
        most = min(most, MOST_TOKENS_WITHOUT_GRADIENTS)
    fits = 1 <= sequence.shape[1] <= most and len(sequence) > 0
    return fits and are_multiplied_in_bfloat16(tensors, "cuda") and is_triton_available(sequence.device)


def attend(
    sequence: Float[Tensor, "batch tokens model_dimension"], query_key_value: nn.Linear, number_of_heads: int
) -> Float[Tensor, "batch tokens attention_dimension"]:
    """Equations 5 to 7, of what `is_served` says: the values that every token gathers, of all heads."""
    bias = query_key_value.bias
    product = F.linear(sequence, query_key_value.weight, None if bias is None else bias.detach())
    bias = product.new_zeros(product.shape[-1]) if bias is None else bias
    attended, _ = packed_attention(product.unflatten(2, (3, number_of_heads, -1)), bias)
    return attended.flatten(2)


@torch.library.custom_op("vision_transformers::packed_attention", mutates_args=(), device_types="cuda")
def packed_attention(product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 7, softmax(q k^T / sqrt(D_h)) v, in bfloat16.

    Args:
        product: (batch, tokens, 3, heads, head_dimension): q, k and v, as one linear layer gives them.
        bias: (3 x heads x head_dimension,), of any floating type: that layer's, which `product` has in it. It
            is asked for to give its gradient, which the layer then must not give, too.

    Returns:
        The weighted values, (batch, tokens, heads, head_dimension), and what backward needs of each row of
        scores, (batch, heads, tokens): the logarithm, in base 2, of the sum of their exponentials.

    Raises:
        ValueError: another type, layout or size than `is_served` asks for.
    """
    _check(product, bias)
    attended, statistics = _new_outputs(product, bias)
    from vision_transformers.model.kernels import packed_attention_kernels as kernels

    with torch.cuda.device(product.device):
        kernels.attend(product, attended, statistics)
    return attended, statistics


@torch.library.custom_op(
    "vision_transformers::packed_attention_backward", mutates_args=(), device_types="cuda"
)
def packed_attention_backward(
    gradient: Tensor, product: Tensor, bias: Tensor, attended: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients with respect to `product` and `bias`; of the keys' bias it is zero.

    Raises:
        ValueError: as there, or shapes that are not those of its outputs.
    """
    _check(product, bias)
    batch, tokens, _, heads, width = product.shape
    if not gradient.device == attended.device == statistics.device == product.device:
        raise ValueError(f"gradient, attended and statistics are not all on {product.device}")
    for name, tensor in (("gradient", gradient), ("attended", attended)):
        if tensor.shape != (batch, tokens, heads, width) or tensor.dtype != torch.bfloat16:
            raise ValueError(f"{name} is {tensor.dtype} of {tuple(tensor.shape)}, unlike what was attended")
    if statistics.shape != (batch, heads, tokens) or statistics.dtype != torch.float32:
        raise ValueError(f"statistics are {statistics.dtype} of {tuple(statistics.shape)}, not as given")
    from vision_transformers.model.kernels import packed_attention_backward_kernels as kernels

    gradient = gradient if _is_laid_out_for_kernels(gradient) else gradient.contiguous()
    found, of_bias = _new_gradients(gradient, product, bias, attended, statistics)
    with torch.cuda.device(product.device):
        sums = kernels.attend_backward(
            gradient, product, attended.contiguous(), statistics.contiguous(), found
        )
    of_queries, of_values = sums.sum(0).flatten(1)
    of_bias.copy_(torch.cat([of_queries, torch.zeros_like(of_queries), of_values]))
    return found, of_bias


@packed_attention.register_fake
def _new_outputs(product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    batch, tokens, _, heads, width = product.shape
    attended = product.new_empty(batch, tokens, heads, width)
    return attended, product.new_empty(batch, heads, tokens, dtype=torch.float32)


@packed_attention_backward.register_fake
def _new_gradients(
    gradient: Tensor,  # noqa: ARG001
    product: Tensor,
    bias: Tensor,
    attended: Tensor,  # noqa: ARG001
    statistics: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return product.new_empty(product.shape), bias.new_empty(bias.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else zeros are made for it, to be thrown away


def _backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None]:
    if gradient is None:  # nothing that was computed from it has one
        return None, None
    product, bias, attended, statistics = ctx.saved_tensors
    if torch.is_grad_enabled():  # by create_graph: for a gradient of this gradient
        return _differentiable_backward(gradient, product, bias)
    found: tuple[Tensor, Tensor] = packed_attention_backward(gradient, product, bias, attended, statistics)
    return found


def _differentiable_backward(gradient: Tensor, product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same, of operators whose gradients have gradients."""
    # Another tensor, so that hooks on what was given are not run by this; and one that depends on the bias,
    # which `product` has in it without a gradient.
    product = product + (bias - bias.detach()).to(product.dtype).unflatten(0, product.shape[2:])
    queries, keys, values = (part.transpose(1, 2) for part in product.unbind(2))
    with sdpa_kernel(SDPBackend.MATH):
        attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
    (of_product,) = torch.autograd.grad(attended, product, gradient, create_graph=True)
    return of_product, of_product.sum((0, 1)).flatten().to(bias.dtype)


packed_attention.register_autograd(_backward, setup_context=_keep_for_backward)


def _check(product: Tensor, bias: Tensor) -> None:
    """Before their memory is given to kernels."""
    if product.ndim != 5 or product.shape[2] != 3 or product.shape[-1] not in MOST_TOKENS:
        raise ValueError(
            f"expected (batch, tokens, 3, heads, width), with a width in {tuple(MOST_TOKENS)}, "
            f"not {tuple(product.shape)}"
        )
    _, tokens, _, heads, width = product.shape
    if not 1 <= tokens <= MOST_TOKENS[width] or product.dtype != torch.bfloat16:
        raise ValueError(
            f"packed_attention takes 1 to {MOST_TOKENS[width]} tokens in bfloat16 where heads are {width} "
            f"wide, not {product.dtype} of {tuple(product.shape)}"
        )
    if not _is_laid_out_for_kernels(product) or 2 * product.stride(2) + product.stride(1) * tokens >= FAR:
        raise ValueError(f"heads are not contiguous, or too far apart: strides are {product.stride()}")
    if bias.shape != (3 * heads * width,) or bias.device != product.device:
        raise ValueError(f"bias is {tuple(bias.shape)} on {bias.device}, for {tuple(product.shape)}")


def _is_laid_out_for_kernels(tensor: Tensor) -> bool:
    are_heads_contiguous = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return are_heads_contiguous and tensor.stride(1) * tensor.shape[1] < FAR
