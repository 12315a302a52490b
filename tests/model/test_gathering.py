"""Attention of few queries is Equation 7, and is left to whoever hooks the layers that it goes without."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.pools import AttentionPool

SEQUENCE = torch.randn(3, 20, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(**options: Any) -> MultiHeadAttention:
    torch.manual_seed(0)
    layer = MultiHeadAttention(32, 4, **options).double()
    nn.init.normal_(layer.query_key_value.weight)
    if layer.query_key_value.bias is not None:
        nn.init.normal_(layer.query_key_value.bias)
    return layer


def gradients(output: Tensor, module: nn.Module) -> dict[str, Tensor]:
    module.zero_grad()
    output.square().sum().backward()
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("number", [1, 2, 7, 20, 30])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention_dimension": 16},
        {"attention_dimension": 48},
        {"query_bias": False, "key_bias": False, "value_bias": False},
        {"key_bias": False},
        {"query_key_normalization": True},
    ],
)
def test_some_tokens_gather_what_they_gather_among_all(options: dict[str, Any], number: int) -> None:
    layer = attention(**options)
    every = layer(SEQUENCE, need_weights=True)[0][:, :number]
    found = layer(SEQUENCE, number_of_queries=number)[0]
    torch.testing.assert_close(found, every)
    expected = gradients(every, layer)
    for name, gradient in gradients(found, layer).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_dropout_drops_a_value_with_its_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight is dropped, so that nothing is gathered, and the values' bias neither."""
    layer = attention(dropout=0.5)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", _all_dropped)
    nothing = torch.zeros(3, 1, 32, dtype=torch.float64)
    torch.testing.assert_close(layer(SEQUENCE, number_of_queries=1)[0], layer.projection(nothing))


def _all_dropped(queries: Tensor, keys: Tensor, values: Tensor, dropout_p: float) -> Tensor:
    assert dropout_p == 0.5
    return (queries @ keys.transpose(-2, -1)) @ values * 0


def pool() -> AttentionPool:
    torch.manual_seed(0)
    made = AttentionPool(32, 4, FeedForward(32, 48)).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def test_a_pool_gives_what_it_gives_with_keys_and_values() -> None:
    ours, formed = pool(), pool()
    formed.key_value.register_forward_hook(lambda *_: None)
    torch.testing.assert_close(ours(SEQUENCE), formed(SEQUENCE))
    expected = gradients(formed(SEQUENCE), formed)
    for name, gradient in gradients(ours(SEQUENCE), ours).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize(
    "register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_whoever_looks_at_keys_and_values_sees_them(register: str) -> None:
    """As captum and the relevance of `vit explain` do."""
    seen: list[int] = []
    for module, layer in ((pool(), "key_value"), (attention(), "query_key_value")):
        getattr(module.get_submodule(layer), register)(lambda *_: seen.append(1))
        sequence = SEQUENCE.clone().requires_grad_()
        output = module(sequence) if layer == "key_value" else module(sequence, number_of_queries=1)[0]
        output.sum().backward()
    assert len(seen) == 2


class Doubled(nn.Identity):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * input


def test_whatever_is_done_to_queries_is_done_where_few_of_them_gather() -> None:
    layer = attention()
    before, _ = layer(SEQUENCE, number_of_queries=1)
    layer.query_normalization = Doubled()
    doubled, _ = layer(SEQUENCE, number_of_queries=1)
    layer.query_normalization = nn.Identity()
    layer.query_normalization.register_forward_pre_hook(lambda _, inputs: (2 * inputs[0],))
    hooked, _ = layer(SEQUENCE, number_of_queries=1)
    assert torch.equal(doubled, hooked)
    assert not torch.allclose(doubled, before)
    assert torch.allclose(hooked, layer(SEQUENCE, need_weights=True)[0][:, :1])


def test_a_replaced_forward_is_called() -> None:
    """As libraries do that load weights only while a layer computes."""
    layer = attention()
    usual, called = layer.query_key_value.forward, []

    def watched(sequence: Tensor) -> Tensor:
        called.append(1)
        return usual(sequence)

    layer.query_key_value.forward = watched  # type: ignore[method-assign]
    layer(SEQUENCE, number_of_queries=1)
    assert called
