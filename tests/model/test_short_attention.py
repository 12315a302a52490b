"""Attention in C is Equation 7 to bfloat16's precision, whatever the sizes and however they lie in memory."""

import pytest
import torch
from torch import Tensor

from vision_transformers.model import short_attention as module
from vision_transformers.model.attention import attend, attention_weights
from vision_transformers.model.short_attention import is_served, short_attention

pytestmark = pytest.mark.skipif(
    not module.is_available(), reason="needs AVX512_BF16 and a C compiler: PyTorch computes attention here"
)

SIZES = [
    (1, 1, 2),
    (2, 3, 6),
    (5, 5, 8),
    (17, 17, 40),
    (50, 50, 16),
    (33, 64, 20),
    (1, 65, 48),
    (197, 197, 64),
]
"""Queries, keys and width of a head."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def as_one_layer_gives_them(images: int, queries: int, keys: int, width: int, scale: float) -> list[Tensor]:
    """(images, 3 heads, tokens, width), side by side in memory as a linear layer's output has them."""
    parts = (random(images, max(queries, keys), 3, 3, width) * scale).unbind(2)
    tokens = (queries, keys, keys)
    return [
        part.transpose(1, 2)[:, :, :count].requires_grad_() for part, count in zip(parts, tokens, strict=True)
    ]


def relative_error(found: Tensor, truth: Tensor) -> float:
    return float((found.detach().double() - truth).norm() / truth.detach().norm().clamp(min=1e-30))


def all_of(attended: Tensor, inputs: list[Tensor], direction: Tensor) -> list[Tensor]:
    return [attended, *torch.autograd.grad(attended, inputs, direction.to(attended.dtype))]


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("queries", "keys", "width"), SIZES)
def test_it_and_its_gradients_are_nearer_to_equation_7_than_products_in_bfloat16_are(
    queries: int, keys: int, width: int, scale: float
) -> None:
    inputs = as_one_layer_gives_them(4, queries, keys, width, scale)
    exactly = [tensor.detach().double().requires_grad_() for tensor in inputs]
    direction = random(4, 3, queries, width, seed=1).transpose(0, 1).contiguous().transpose(0, 1)
    truths = all_of(attention_weights(*exactly[:2]) @ exactly[2], exactly, direction)
    ours = all_of(short_attention(*inputs)[0], inputs, direction)
    theirs = all_of(attention_weights(*inputs[:2]) @ inputs[2], inputs, direction)
    for truth, found, other in zip(truths, ours, theirs, strict=True):
        assert found.isfinite().all()
        assert relative_error(found, truth) <= max(1.2 * relative_error(other, truth), 0.004) or (
            truth.norm() < 1e-6  # with one key the weight is 1, and queries and keys have no gradient
        )


def test_an_image_does_not_see_the_others_nor_the_number_of_threads() -> None:
    inputs = as_one_layer_gives_them(8, 50, 50, 16, 1.0)
    together = short_attention(*inputs)[0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([short_attention(*(part[i : i + 1] for part in inputs))[0] for i in range(8)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


def test_what_is_not_a_number_stays_in_its_head() -> None:
    inputs = as_one_layer_gives_them(2, 20, 20, 16, 1.0)
    usual = short_attention(*inputs)[0]
    with torch.no_grad():
        inputs[0][1, 2, 5, 0] = torch.nan
    found = short_attention(*inputs)[0]
    assert found[1, 2, 5].isnan().all()
    found[1, 2, 5] = usual[1, 2, 5]
    assert torch.equal(found, usual)


def test_it_is_an_operator_that_pytorch_can_check() -> None:
    torch.library.opcheck(short_attention, tuple(as_one_layer_gives_them(2, 6, 6, 8, 1.0)))


def test_only_what_it_can_do_is_given_to_it() -> None:
    """Another type or layout would be read as if it were the right one."""
    good = as_one_layer_gives_them(2, 6, 6, 8, 1.0)
    assert is_served(*good)
    assert not is_served(*(part.float() for part in good))
    odd_stride = random(2, 3, 6, 9)[..., :8]
    assert not is_served(odd_stride, *good[1:])
    assert not is_served(*(random(2, 3, 6, 7) for _ in range(3)))
    assert not is_served(*(random(2, 3, 8, 6).transpose(2, 3) for _ in range(3)))
    assert not is_served(*(random(1, 1, module.MOST_TOKENS + 1, 8) for _ in range(3)))


def test_dropout_is_left_to_pytorch() -> None:
    inputs = as_one_layer_gives_them(2, 50, 50, 16, 1.0)
    torch.manual_seed(0)
    assert not torch.equal(attend(*inputs, dropout=0.5), attend(*inputs))
