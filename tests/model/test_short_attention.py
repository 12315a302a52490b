"""Attention for short sequences on CPUs is the paper's, forward and backward, at any size of its inputs."""

import pytest
import torch
from torch import Tensor

from vision_transformers.model import short_attention as module
from vision_transformers.model.attention import attend, attention_weights
from vision_transformers.model.short_attention import is_short, short_attention


def inputs(queries: int, keys: int, scale: float, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = ((queries, scale), (keys, 1.0), (keys, 1.0))
    return [
        (torch.randn(3, 4, length, 16, generator=generator) * size).to(dtype).requires_grad_()
        for length, size in lengths
    ]


def gradients(attended: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(attended.shape, generator=generator).to(attended.dtype)
    return list(torch.autograd.grad(attended, parameters, direction))


@pytest.mark.parametrize(("queries", "keys"), [(50, 50), (1, 17), (197, 197)])
@pytest.mark.parametrize("scale", [1.0, 300.0], ids=["usual", "scores beyond exp's range"])
def test_it_is_equation_7_and_so_are_its_gradients(queries: int, keys: int, scale: float) -> None:
    ours = inputs(queries, keys, scale, torch.float64)
    written_out = attention_weights(*ours[:2]) @ ours[2]
    attended = short_attention(*ours)
    torch.testing.assert_close(attended, written_out)
    torch.testing.assert_close(gradients(attended, ours), gradients(written_out, ours))


def test_in_bfloat16_it_errs_at_most_twice_as_much_as_written_out_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BYTES_AT_A_TIME", 3 * 50 * 50 * 2)  # several parts, the last one smaller
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    ours = inputs(50, 50, 1.0, torch.bfloat16)
    exactly = [tensor.detach().double().requires_grad_() for tensor in ours]
    exact = attention_weights(*exactly[:2]) @ exactly[2]
    written_out, attended = attention_weights(*ours[:2]) @ ours[2], short_attention(*ours)
    truths = [exact, *gradients(exact, exactly)]
    for truth, plain, own in zip(
        truths,
        [written_out, *gradients(written_out, ours)],
        [attended, *gradients(attended, ours)],
        strict=True,
    ):
        assert (own - truth).abs().max() <= 2 * (plain - truth).abs().max()


def test_without_gradients_it_gives_the_same_and_holds_one_part_of_the_exponentials() -> None:
    ours = inputs(50, 50, 1.0, torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(short_attention(*ours), short_attention(*[x.detach() for x in ours]))
    assert torch.equal(short_attention(*ours), short_attention(*[x.detach() for x in ours]))


def test_it_is_taken_in_bfloat16_on_cpus_and_not_for_long_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    short = inputs(50, 50, 1.0, torch.bfloat16)
    assert is_short(*short)
    assert not is_short(*inputs(50, 50, 1.0, torch.float32))
    assert not is_short(*inputs(8, module.MOST_TOKENS + 1, 1.0, torch.bfloat16))
    expected = torch.zeros(3, 4, 50, 16)
    monkeypatch.setattr("vision_transformers.model.attention.short_attention", lambda *_: expected)
    assert attend(*short) is expected


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    queries, keys, values = inputs(50, 50, 1.0, torch.bfloat16)
    torch.manual_seed(0)
    mean = torch.stack([attend(queries, keys, values, dropout=0.5).float() for _ in range(1000)]).mean(dim=0)
    assert (mean - short_attention(queries, keys, values)).abs().mean() < 0.01
