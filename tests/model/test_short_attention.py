"""Attention in C is Equation 7 as precisely as its numbers allow, however they lie in memory."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.model.computing import relative_error
from torch import Tensor

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.kernels import short_attention as short_attention_module
from vision_transformers.model.kernels.short_attention import (
    MULTIPLES,
    PROGRAMS,
    is_available,
    is_served,
    program_for,
    short_attention,
    short_attention_backward,
)
from vision_transformers.model.scaled_dot_product import attention_weights


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.source.stem)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Whose attention one of the C files computes, also where this machine has a faster way."""
    program = replace(request.param, superseded_by=None)
    monkeypatch.setattr(short_attention_module, "PROGRAMS", (program,))
    if not is_available(program.dtype):
        pytest.skip(f"needs gcc and {' and '.join(program.instructions)}")
    return program.dtype


SIZES = [(1, 2), (3, 6), (5, 8), (16, 32), (17, 40), (50, 16), (33, 20), (65, 48), (73, 16), (197, 64)]
ODD_SIZES = [(4, 1), (21, 7), (50, 33)]
"""Tokens and width of a head."""
ERROR = {torch.bfloat16: 0.004, torch.float32: 1e-6}


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def together(images: int, tokens: int, width: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return (random(images, tokens, 3, 3, width, dtype=dtype) * scale).requires_grad_()


def written_out(query_key_value: Tensor) -> Tensor:
    queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
    return (attention_weights(queries, keys) @ values).transpose(1, 2)


def scaled_last(query_key_value: Tensor) -> Tensor:
    queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
    scores = queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5
    return (scores.softmax(dim=3) @ values).transpose(1, 2)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("tokens", "width"), SIZES + ODD_SIZES)
def test_it_and_its_gradient_are_as_near_to_equation_7_as_products_and_a_softmax_are(
    tokens: int, width: int, scale: float, dtype: torch.dtype
) -> None:
    if width % MULTIPLES[dtype]:
        pytest.skip("PyTorch computes this")
    given = together(4, tokens, width, dtype, scale)
    exactly = given.detach().double().requires_grad_()
    direction = random(4, 3, tokens, width, dtype=dtype, seed=1).transpose(1, 2)
    found = []
    for inputs, attended in (
        (exactly, written_out(exactly)),
        (given, short_attention(given)[0]),
        (given, written_out(given)),
        (given, scaled_last(given)),
    ):
        gradient = torch.autograd.grad(attended, inputs, direction.to(attended.dtype))
        found.append((attended, *gradient))
    for truth, ours, *theirs in zip(*found, strict=True):
        assert ours.isfinite().all()
        usual = max(
            relative_error(each, truth) for each in theirs
        )  # of large scores, each has luck of its own
        assert relative_error(ours, truth) <= max(3 * usual, ERROR[dtype])


def test_an_image_does_not_see_the_others_nor_the_number_of_threads(dtype: torch.dtype) -> None:
    given = together(8, 50, 16, dtype)
    all_at_once = short_attention(given)[0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one_by_one = torch.cat([short_attention(given[i : i + 1])[0] for i in range(8)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(all_at_once, one_by_one)


def test_gradients_do_not_see_the_number_of_threads(dtype: torch.dtype) -> None:
    given = together(8, 50, 16, dtype)
    direction = random(8, 50, 3, 16, dtype=dtype, seed=1)
    (found,) = torch.autograd.grad(short_attention(given)[0], given, direction)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        (alone,) = torch.autograd.grad(short_attention(given)[0], given, direction)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found, alone)


def test_scores_of_any_size_give_weights_that_sum_to_one(dtype: torch.dtype) -> None:
    """As in a run that diverges: what goes wrong is to be seen in its loss, not made here."""
    given = together(2, 50, 16, dtype, scale=1e6).detach()
    given[:, :, 2] = 1.0
    assert torch.allclose(short_attention(given)[0], torch.ones(2, 50, 3, 16, dtype=dtype), rtol=ERROR[dtype])


def test_another_type_or_layout_is_refused(dtype: torch.dtype) -> None:
    """It would be read as if it were another, or beyond its memory."""
    with pytest.raises(ValueError, match="bfloat16"):
        short_attention(together(2, 6, 8, dtype).half())
    with pytest.raises(ValueError, match="contiguous"):
        short_attention(random(2, 6, 3, 8, 6, dtype=dtype).transpose(3, 4))


def test_gradients_of_another_type_or_shape_are_refused(dtype: torch.dtype) -> None:
    """By somebody who calls the operator; autograd gives what fits."""
    given = together(2, 6, 8, dtype).detach()
    attended, statistics = short_attention(given)
    for *wrong, about_rows in (
        (attended.double(), attended, statistics),
        (attended, attended[:, :5], statistics),
        (attended, attended, statistics[:, :, :5]),
    ):
        with pytest.raises(ValueError, match="of the shape"):
            short_attention_backward(wrong[0], given, wrong[1], about_rows)


def test_what_backward_needs_has_no_gradient(dtype: torch.dtype) -> None:
    assert not short_attention(together(2, 6, 8, dtype))[1].requires_grad


def test_what_is_not_a_number_stays_in_its_row(dtype: torch.dtype) -> None:
    given = together(2, 20, 16, dtype).detach()
    usual = short_attention(given)[0]
    given[1, 5, 0, 2, 0] = torch.nan  # one number of one query
    found = short_attention(given)[0]
    assert found[1, 5, 2].isnan().all()
    found[1, 5, 2] = usual[1, 5, 2]
    assert torch.equal(found, usual)


def test_it_is_an_operator_that_pytorch_can_check(dtype: torch.dtype) -> None:
    torch.library.opcheck(torch.ops.vision_transformers.short_attention.default, (together(2, 6, 8, dtype),))


def test_only_what_it_can_do_is_given_to_it(dtype: torch.dtype) -> None:
    """Another type or layout would be read as if it were the right one."""
    assert is_served(together(2, 6, 8, dtype))
    assert is_served(random(2, 6, 3, 3, 16, dtype=dtype)[..., :8])
    assert not is_served(together(2, 6, 8, dtype).double())
    assert is_served(random(2, 6, 3, 3, 7, dtype=dtype)) == (dtype == torch.float32)
    assert is_served(random(2, 6, 3, 3, 9, dtype=dtype)[..., :8]) == (dtype == torch.float32)
    assert not is_served(random(2, 6, 3, 8, 6, dtype=dtype).transpose(3, 4))
    assert not is_served(random(1, program_for(dtype).most_tokens + 1, 3, 1, 8, dtype=dtype))


@pytest.mark.parametrize(
    "options", [{}, {"query_key_normalization": True}, {"dropout": 0.5}, {"query_bias": False}]
)
def test_a_layer_is_the_same_with_its_weights_which_pytorch_computes(
    options: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(32, 2, **options).to(dtype).eval()
    sequence = random(3, 20, 32, dtype=dtype)
    attended, weights = layer(sequence, need_weights=True)
    assert weights is not None
    assert torch.allclose(layer(sequence)[0], attended, atol=8 * ERROR[dtype])


def test_dropout_is_left_to_pytorch(dtype: torch.dtype) -> None:
    layer = MultiHeadAttention(32, 2, dropout=0.5).to(dtype)
    sequence = random(3, 20, 32, dtype=dtype)
    assert not torch.equal(layer(sequence)[0], layer(sequence)[0])
