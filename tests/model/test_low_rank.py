"""Low-rank matrices change nothing at first; merged into the weights they compute the same as beside them."""

from typing import Any

import pytest
import torch
from tests.parity.weights import randomise

from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.low_rank import add_low_rank, is_low_rank, merged_weights, unmerged_weights
from vision_transformers.model.vit import ViT

PARTS: tuple[tuple[Any, ...], ...] = (
    ("query",),
    ("query", "value"),
    ("key", "projection"),
    ("feed-forward",),
    ("query", "key", "value", "projection", "feed-forward"),
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"activation": "swiglu"},
    {"key_bias": False},
    {"attention_projection": False},
)
IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def random_model(options: dict[str, Any]) -> ViT:
    torch.manual_seed(0)
    model = ViT((4, 4), 16, 2, 2, 24, 3, 5, (8, 8), **options)
    randomise(model)
    return model.eval()


def adapt(model: ViT, parts: tuple[Any, ...]) -> None:
    """Adds matrices that have learned something."""
    add_low_rank(model.transformer.layers, LowRankConfig(3, alpha=2.0, parts=parts))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("low_rank.up"):
                parameter.normal_()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_at_first_nothing_changes(options: dict[str, Any]) -> None:
    model = random_model(options)
    before = model(IMAGES)
    add_low_rank(model.transformer.layers, LowRankConfig(3, parts=PARTS[-1]))
    torch.testing.assert_close(model(IMAGES), before)
    assert model.tokens_read == 1, "their own hooks must not make the last layer compute every token"


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_merged_they_compute_the_same(options: dict[str, Any], parts: tuple[Any, ...]) -> None:
    model, plain = random_model(options), random_model(options)
    adapt(model, parts)
    plain.load_state_dict(merged_weights(model))
    expected = model(IMAGES)
    assert (expected - random_model(options)(IMAGES)).abs().max() > 0.1
    torch.testing.assert_close(plain(IMAGES), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_only_the_named_rows_of_the_fused_layer_change() -> None:
    model, before = random_model({}), random_model({}).state_dict()
    adapt(model, ("query", "value"))
    name = "transformer.layers.0.attention.query_key_value.weight"
    changed = (merged_weights(model)[name] - before[name]).chunk(3)
    assert [bool(rows.any()) for rows in changed] == [True, False, True]
    assert [int(torch.linalg.matrix_rank(rows)) for rows in changed] == [3, 0, 3]


def test_nothing_is_lost_by_merging_beside_what_is_kept() -> None:
    model, again = random_model({}), random_model({})
    adapt(model, ("query", "projection"))
    add_low_rank(again.transformer.layers, LowRankConfig(3, alpha=2.0, parts=("query", "projection")))
    again.load_state_dict(merged_weights(model) | unmerged_weights(model))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_model_without_them_has_nothing_to_merge() -> None:
    model = random_model({})
    assert unmerged_weights(model) == {}
    assert merged_weights(model).keys() == model.state_dict().keys()
    assert not any(is_low_rank(name) for name in model.state_dict())


def test_no_rank_is_no_adaptation() -> None:
    with pytest.raises(ValueError, match="rank is 0"):
        add_low_rank(torch.nn.ModuleList(), LowRankConfig())


def test_parts_that_the_model_does_not_have_are_no_adaptation() -> None:
    """Else nothing but the head would learn, and no word about it."""
    model = random_model({"attention_projection": False})
    with pytest.raises(ValueError, match=r"parts is \('projection',\): the model has no such linear layer"):
        add_low_rank(model.transformer.layers, LowRankConfig(3, parts=("projection",)))


def test_what_has_matrices_already_gets_no_others() -> None:
    """They would be put in the place of those that have learned, and count twice."""
    model = random_model({})
    adapt(model, PARTS[1])
    before = model(IMAGES)
    with pytest.raises(ValueError, match="already"):
        add_low_rank(model.transformer.layers, LowRankConfig(3, parts=("key",)))
    assert torch.equal(model(IMAGES), before)


@pytest.mark.parametrize("wrong", [{"rank": -1}, {"rank": 4, "alpha": 0.0}, {"rank": 4, "parts": ()}])
def test_what_cannot_be_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="low_rank"):
        LowRankConfig(**wrong)
