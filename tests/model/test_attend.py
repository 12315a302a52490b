"""Whichever way attention is computed, it is Equation 7, forward and backward."""

import pytest
import torch
from torch import Tensor

from vision_transformers.model import scaled_dot_product
from vision_transformers.model.scaled_dot_product import attend, attention_weights


def inputs(tokens: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, tokens, 16, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("tokens", [17, 300])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_it_is_equation_7_and_so_are_its_gradients(tokens: int, dtype: torch.dtype, tolerance: float) -> None:
    parameters = inputs(tokens, dtype)
    exactly = [tensor.detach().double().requires_grad_() for tensor in parameters]
    attended, exact = attend(*parameters), attention_weights(*exactly[:2]) @ exactly[2]
    direction = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    truths = [exact, *torch.autograd.grad(exact, exactly, direction.double())]
    found = [attended, *torch.autograd.grad(attended, parameters, direction.to(dtype))]
    for truth, value in zip(truths, found, strict=True):
        assert (value - truth).abs().max() <= tolerance * truth.abs().max()


def test_in_float16_large_products_give_the_weights_that_the_fused_way_takes() -> None:
    """They are over 65504, which float16 ends at: maps would be NaN where the logits are right."""
    tokens = 70 * inputs(17, torch.float16)[0]
    identity = torch.eye(17, dtype=torch.float16).expand(3, 4, 17, 17)
    fused = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, identity)
    assert torch.equal(attention_weights(tokens, tokens), fused)


def test_in_bfloat16_on_cpus_short_sequences_are_written_out_and_long_ones_fused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fused, a training step takes several times as long; written out, long ones take the memory."""
    fused: list[int] = []
    usual = torch.nn.functional.scaled_dot_product_attention

    def noted(queries: Tensor, *rest: Tensor, dropout_p: float) -> Tensor:
        fused.append(queries.shape[2])
        return usual(queries, *rest, dropout_p=dropout_p)

    monkeypatch.setattr(scaled_dot_product.F, "scaled_dot_product_attention", noted)
    for tokens, dtype in ((50, torch.bfloat16), (50, torch.float32), (300, torch.bfloat16)):
        attend(*inputs(tokens, dtype))
    assert fused == [50, 300]


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    queries, keys, values = inputs(50, torch.bfloat16)
    torch.manual_seed(0)
    mean = torch.stack([attend(queries, keys, values, dropout=0.5).float() for _ in range(1000)]).mean(dim=0)
    assert (mean - attend(queries, keys, values)).abs().mean() < 0.01
