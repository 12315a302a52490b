"""Attention as maps: the right rows of the right layers, on the model's own grid, for any model."""

from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from tests.explain.models import CLASSES, GRID, IMAGES, OPTIONS, random_model
from torch import Tensor, nn

from vision_transformers.explain.attention_maps import attention_maps
from vision_transformers.explain.methods import METHODS
from vision_transformers.explain.occlusion import occlusion
from vision_transformers.explain.rollout import attention_rollout
from vision_transformers.explain.tokens import embed, logits_of, reading
from vision_transformers.explain.weights import patch_filters
from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.patches import LinearFeatureExtractor
from vision_transformers.model.vit import ViT


def all_weights(model: ViT) -> list[Tensor]:
    _, weights = model(IMAGES, need_weights=True)
    return [each for each in weights if each is not None]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_a_tokens_map_is_its_row_of_the_weights(options: dict[str, Any]) -> None:
    model = random_model(options)
    weights, prefix = all_weights(model), model.number_of_prefix_tokens
    for place in (0, prefix + 4, -1):
        maps = attention_maps(model, IMAGES, layers=[2, 0], heads=[1], queries=place)
        assert maps.shape == (2, 3, 1, *GRID)
        for layer, found in zip((2, 0), maps, strict=True):
            torch.testing.assert_close(found[:, 0].flatten(1), weights[layer][:, 1, place, prefix:])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_every_map_sums_to_what_did_not_go_to_prefix_tokens(options: dict[str, Any]) -> None:
    model = random_model(options)
    maps = attention_maps(model, IMAGES)
    assert maps.shape == (3, 3, 2, *GRID)
    sums = maps.sum(dim=(3, 4))
    assert (sums <= 1 + 1e-5).all()
    if model.number_of_prefix_tokens == 0:
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_the_class_is_asked_for_by_the_token_that_the_head_reads() -> None:
    by_token = random_model({})
    torch.testing.assert_close(attention_maps(by_token, IMAGES), attention_maps(by_token, IMAGES, queries=0))
    by_mean = random_model({"pool": "mean"})
    torch.testing.assert_close(
        attention_maps(by_mean, IMAGES), attention_maps(by_mean, IMAGES, queries="patches")
    )


def test_layers_count_from_the_end_too_and_wrong_ones_are_told() -> None:
    model = random_model({})
    last = attention_maps(model, IMAGES, layers=[-1])
    torch.testing.assert_close(last, attention_maps(model, IMAGES, layers=[2]))
    for wrong in ({"layers": [3]}, {"heads": [-3]}, {"queries": 7}, {"layers": []}):
        with pytest.raises(IndexError, match="expected some of 0 to"):
            attention_maps(model, IMAGES, **wrong)


def test_a_token_may_be_numbered_as_numpy_does() -> None:
    model = random_model({})
    numbered = attention_maps(model, IMAGES, queries=np.int64(5))
    torch.testing.assert_close(numbered, attention_maps(model, IMAGES, queries=5))


@pytest.fixture
def unchecked_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere but in these tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("unchecked_types")
def test_a_word_that_is_mistyped_is_told_and_not_taken_for_another() -> None:
    model: Any = random_model({})
    with pytest.raises(ValueError, match="queries is 'patch': expected 'class', 'patches' or"):
        attention_maps(model, IMAGES, queries="patch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fusion is 'median': expected 'mean', 'max' or 'min'"):
        attention_rollout(model, IMAGES, "median")  # type: ignore[arg-type]
    for removal in ("Drop", "gray"):
        with pytest.raises(ValueError, match=f"removal is '{removal}': expected 'drop', 'mean' or 'blur'"):
            occlusion(model, IMAGES, CLASSES, removal)  # type: ignore[arg-type]


def test_only_the_wanted_layers_weights_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory holds one layer of a large model, not all."""
    asked = []
    forward = MultiHeadAttention.forward

    def watched(self: MultiHeadAttention, sequence: Tensor, need_weights: bool, *others: Any) -> Any:
        asked.append(need_weights)
        return forward(self, sequence, need_weights, *others)

    monkeypatch.setattr(MultiHeadAttention, "forward", watched)
    attention_maps(random_model({}), IMAGES, layers=[1])
    assert asked == [False, True]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@torch.no_grad()
def test_rollout_is_the_product_written_out(options: dict[str, Any], fusion: Any) -> None:
    model = random_model(options)
    sequence, _ = model.features(IMAGES)
    shares, share = reading(model, sequence), 0.3
    for image in range(len(IMAGES)):
        rolled = torch.eye(sequence.shape[1])
        for weights in all_weights(model):
            heads = weights[image]
            fused = {"mean": heads.mean(0), "max": heads.max(0).values, "min": heads.min(0).values}[fusion]
            layer = share * torch.eye(len(fused)) + (1 - share) * fused
            rolled = torch.stack([row / row.sum() for row in layer]) @ rolled
        expected = (shares[image] @ rolled)[model.number_of_prefix_tokens :]
        found = attention_rollout(model, IMAGES, fusion, share)[image]
        torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-6)


def test_half_of_a_layer_passes_by_its_residual_connection_unless_told_otherwise() -> None:
    model = random_model({})
    torch.testing.assert_close(
        attention_rollout(model, IMAGES), attention_rollout(model, IMAGES, "mean", residual_share=0.5)
    )


def test_a_share_that_cannot_be_is_told() -> None:
    with pytest.raises(ValueError, match="residual_share is 1"):
        attention_rollout(random_model({}), IMAGES, residual_share=1.0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)])
def test_every_method_explains_models_in_other_numbers(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    explain, model = METHODS[name].explain, random_model({})
    expected = explain(model, IMAGES, CLASSES)
    found = explain(model.to(dtype), IMAGES.to(dtype), CLASSES)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_dropout_does_not_reach_an_explanation(name: str) -> None:
    explain, model = METHODS[name].explain, random_model({"dropout": 0.5, "stochastic_depth": 0.5})
    expected = explain(model.eval(), IMAGES, CLASSES)
    torch.testing.assert_close(explain(model.train(), IMAGES, CLASSES), expected)


def test_dropout_does_not_reach_maps_of_attention() -> None:
    model = random_model({"dropout": 0.5, "stochastic_depth": 0.5})
    expected = attention_maps(model.eval(), IMAGES)
    torch.testing.assert_close(attention_maps(model.train(), IMAGES), expected)


def test_methods_are_what_their_words_say() -> None:
    """`occlusion-mean` paints over, and `attention` is the last layer's."""
    model = random_model({})
    painted_over = METHODS["occlusion-mean"].explain(model, IMAGES, CLASSES)
    torch.testing.assert_close(painted_over, occlusion(model, IMAGES, CLASSES, "mean"))
    last = METHODS["attention"].explain(model, IMAGES, CLASSES)
    torch.testing.assert_close(last, attention_maps(model, IMAGES)[-1].mean(dim=1))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_what_the_head_reads_sums_to_one(options: dict[str, Any]) -> None:
    model = random_model(options)
    shares = reading(model, model.features(IMAGES)[0])
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(dim=1).detach(), torch.ones(3))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_a_model_that_keeps_all_patches_in_any_order_says_the_same(options: dict[str, Any]) -> None:
    """Each patch takes its position along, added or rotated."""
    model = random_model(options)
    order = torch.stack(
        [torch.randperm(6, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    )
    kept = embed(model, IMAGES).keeping(order)
    torch.testing.assert_close(logits_of(model, kept), model(IMAGES), rtol=1e-4, atol=1e-5)


def test_what_is_dropped_cannot_matter() -> None:
    model, changed = random_model({"positions": "rotary"}), IMAGES.clone()
    changed[:, :, :4, :4] = 7.0
    kept = torch.arange(1, 6).expand(3, -1)
    torch.testing.assert_close(
        logits_of(model, embed(model, IMAGES).keeping(kept)),
        logits_of(model, embed(model, changed).keeping(kept)),
    )


def test_the_mode_of_the_model_is_put_back() -> None:
    model = random_model({}).train()
    attention_rollout(model, IMAGES)
    assert model.training


@pytest.mark.parametrize("extractor", ["linear", "convolutional", "stem"])
def test_patch_filters_are_what_explains_most_of_the_kernels(extractor: str) -> None:
    """A stem's first convolution is what looks at pixels: its kernels are of 4 x 4."""
    model = random_model({"patch_extractor": extractor})
    filters = patch_filters(model, count=5).flatten(1)
    assert filters.shape == (5, 3 * 4 * 4)
    torch.testing.assert_close(filters @ filters.T, torch.eye(5))
    kernels = kernels_of(model)
    explained = (kernels @ filters.T).square().sum(dim=0)
    assert explained.tolist() == sorted(explained.tolist(), reverse=True)
    assert explained.sum() >= kernels[:, :5].square().sum()


def kernels_of(model: ViT) -> Tensor:
    """Flat, in the order (channel, row, column)."""
    if isinstance(model.patches, LinearFeatureExtractor):
        return model.patches.to_convolutional().projector.weight.detach().flatten(1)
    first = next(layer for layer in model.patches.modules() if isinstance(layer, nn.Conv2d))
    return first.weight.detach().flatten(1)
