"""Layer-wise relevance propagation through attention, as gradient times input under conservative rules.

The rules of Ali et al. 2022 (arXiv 2202.07304): what a LayerNorm divides by and the attention weights are
held constant, so that what is left is linear in the tokens, and a logit is shared out among them without
loss. AttnLRP (Achtibat et al. 2024, arXiv 2402.05602) adds the rules for activations (its Equation 9, the
identity) and products (Proposition 3.3, equal shares). Its rule for the softmax does not conserve sums, and
is not taken: docs/log.md has what it gave.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vision_transformers.explain.tokens import (
    embed,
    logits_of,
    of_classes,
    outside_of_inference,
    with_gradients,
)
from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.feed_forward import QuickGELU, SwiGLU
from vision_transformers.model.pools import AttentionPool
from vision_transformers.model.vit import ViT


def attention_lrp(
    model: ViT, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, " batch"]
) -> Float[Tensor, "batch rows columns"]:
    """Each patch's share of a class's logit, above or below 0; one forward and one backward pass.

    The shares of all tokens, prefix tokens and biases among them, sum to the logit.

    Args:
        model: any ViT with a head.
        images: normalised.
        classes: the class of each image that is asked about.

    Raises:
        ValueError: the classes are not one for each image, or there is no such class.
    """
    with evaluating(model), conservative(model), with_gradients():
        tokens = embed(model, outside_of_inference(images))
        sequence = tokens.sequence.detach().requires_grad_()
        logits = logits_of(model, replace(tokens, sequence=sequence))
        (gradient,) = torch.autograd.grad(of_classes(logits, classes).sum(), sequence)
    return tokens.on_grid((gradient * sequence).sum(dim=2).detach())


@contextmanager
def conservative(model: ViT) -> Iterator[None]:
    """Until it ends, gradients through the encoders and the head follow the rules; outputs stay the same."""
    hooks = []
    for part in (model.transformer, model.head):
        # Children first: the hook by which an attention holds its queries constant comes after their norm's.
        for module in reversed(list(part.modules())):
            match module:
                case nn.LayerNorm():
                    hooks.append(module.register_forward_hook(_divided_by_a_constant))
                case MultiHeadAttention():
                    hooks.append(module.query_normalization.register_forward_hook(_constant))
                    hooks.append(module.key_normalization.register_forward_hook(_constant))
                case AttentionPool():
                    hooks.append(module.query.register_forward_hook(_constant))
                    hooks.append(module.key_value.register_forward_hook(_constant_keys))
                case SwiGLU():
                    hooks.append(module.register_forward_hook(_gated_in_equal_shares))
                case nn.GELU() | QuickGELU() | nn.Tanh():
                    hooks.append(module.register_forward_hook(_times_a_constant))
                case _:
                    pass
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _divided_by_a_constant(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:  # noqa: ARG001
    assert isinstance(module, nn.LayerNorm)
    centred = inputs[0] - inputs[0].mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + module.eps).sqrt().detach()
    return centred / deviation * module.weight + module.bias


def _constant(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:  # noqa: ARG001
    return output.detach()


def _constant_keys(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:  # noqa: ARG001
    keys, values = output.chunk(2, dim=-1)
    return torch.cat([keys.detach(), values], dim=-1)


def _times_a_constant(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:  # noqa: ARG001
    """output = input * (output / input), the quotient held constant; 0 for an input of 0."""
    return _scaled(inputs[0], output)


def _gated_in_equal_shares(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:  # noqa: ARG001
    assert isinstance(module, SwiGLU)
    gate, up = module.gate_up_layer(inputs[0]).chunk(2, dim=-1)
    gate = _scaled(gate, F.silu(gate))
    product: Tensor = module.output_layer((gate * up.detach() + gate.detach() * up) / 2)
    return product


def _scaled(input: Tensor, output: Tensor) -> Tensor:
    quotient = torch.where(input == 0, 0, output / input)
    return input * quotient.detach()
