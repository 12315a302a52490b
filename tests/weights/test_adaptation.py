"""A model made for other images or classes is what timm makes of it, and says what changed."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.weights.portable import portable

from vision_transformers.errors import UsageFailure
from vision_transformers.model.vit import ViT
from vision_transformers.weights.adaptation import (
    for_channels,
    for_classes,
    for_images,
    with_stored_positions,
)
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.report import Report

EXTRACTORS = pytest.mark.parametrize("extractor", ["linear", "convolutional"])


def kernel(model: PortableModel) -> torch.Tensor:
    config, weight = model.description.model, model.weights["patches.projector.weight"]
    if config.patch_extractor == "convolutional":
        return weight
    return weight.unflatten(1, (*config.patch_shape, config.number_of_channels)).permute(0, 3, 1, 2)


def logits(model: PortableModel, images: torch.Tensor) -> torch.Tensor:
    ours = ViT.from_config(model.description.model).eval()
    ours.load_state_dict(model.weights)
    with torch.no_grad():
        result: torch.Tensor = ours(images)
        return result


@pytest.mark.parametrize("options", [{}, {"number_of_register_tokens": 2}, {"prefix_positions": "none"}])
def test_another_image_size_is_what_the_model_does_by_itself(options: dict[str, Any]) -> None:
    """A ViT resizes its positions for every image; made for that size, it need not."""
    model, report = portable(**options), Report()
    adapted = for_images(model, report, (48, 40))
    images = torch.randn(2, 3, 48, 40)
    torch.testing.assert_close(logits(adapted, images), logits(model, images))
    assert adapted.description.preprocessing.size == (48, 40)
    assert [change.before.tensors[0][0] for change in report.resized] == ["positions.position_embeddings"]


@pytest.mark.parametrize("prefix_positions", ["none", "all"])
def test_positions_of_prefix_tokens_stay_as_they_are(prefix_positions: str) -> None:
    model = portable(number_of_register_tokens=2, prefix_positions=prefix_positions)
    adapted = for_images(model, Report(), (48, 40))
    before, after = (each.weights["positions.position_embeddings"] for each in (model, adapted))
    of_prefix = before.shape[1] - 4 * 4
    assert after.shape[1] == of_prefix + 6 * 5
    assert torch.equal(after[:, :of_prefix], before[:, :of_prefix])


@EXTRACTORS
@pytest.mark.parametrize("patch_shape", [(16, 16), (4, 4)])
def test_another_patch_size_is_timms_resize(extractor: str, patch_shape: tuple[int, int]) -> None:
    layers = pytest.importorskip("timm.layers", reason="timm is not installed")
    model = portable(patch_extractor=extractor)
    adapted = for_images(model, Report(), patch_shape=patch_shape)
    expected = layers.resample_patch_embed(kernel(model), list(patch_shape))
    torch.testing.assert_close(kernel(adapted), expected, rtol=0, atol=1e-4)
    assert logits(adapted, torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_patches_of_a_stem_are_refused_another_shape_and_other_channels() -> None:
    model = portable(patch_extractor="stem")
    with pytest.raises(UsageFailure, match="stem of convolutions keep their shape and channels"):
        for_images(model, Report(), patch_shape=(7, 7))
    with pytest.raises(UsageFailure, match="stem of convolutions keep their shape and channels"):
        for_channels(model, 1, Report())


def test_an_enlarged_patch_gives_the_same_token() -> None:
    model = portable()
    adapted = for_images(model, Report(), patch_shape=(16, 16))
    patch = torch.randn(1, 3, 8, 8)
    enlarged = torch.nn.functional.interpolate(patch, (16, 16), mode="bicubic", antialias=True)
    small = torch.einsum("dchw,bchw->bd", kernel(model), patch)
    large = torch.einsum("dchw,bchw->bd", kernel(adapted), enlarged)
    torch.testing.assert_close(large, small, rtol=0, atol=1e-3)


@EXTRACTORS
@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_other_channels_are_timms(extractor: str, before: int, after: int) -> None:
    manipulate = pytest.importorskip("timm.models._manipulate", reason="timm is not installed")
    model = portable(number_of_channels=before, patch_extractor=extractor)
    channels: Any = after
    adapted = for_channels(model, channels, Report())
    if before == 3:
        expected = manipulate.adapt_input_conv(after, kernel(model))
    else:
        expected = kernel(model).repeat(1, 3, 1, 1) / 3
    torch.testing.assert_close(kernel(adapted), expected)
    assert adapted.description.preprocessing.channels == after
    assert logits(adapted, torch.randn(2, after, 32, 32)).shape == (2, 5)


def test_a_grey_model_has_the_average_mean_and_std_of_the_colours() -> None:
    model = portable()
    preprocessing = replace(model.description.preprocessing, mean=(0.1, 0.2, 0.6), std=(0.3, 0.4, 0.8))
    model = replace(model, description=replace(model.description, preprocessing=preprocessing))
    adapted = for_channels(model, 1, Report()).description.preprocessing
    assert adapted.mean == pytest.approx((0.3,))
    assert adapted.std == pytest.approx((0.5,))


def test_a_grey_picture_as_colour_gives_what_it_gave_as_grey() -> None:
    model = portable(number_of_channels=1)
    adapted = for_channels(model, 3, Report())
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(logits(adapted, images.expand(-1, 3, -1, -1)), logits(model, images))


@pytest.mark.parametrize("positions", ["sine-cosine", "sine-cosine-mae"])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "pool": "mean"}])
def test_positions_that_were_computed_can_be_stored(positions: str, options: dict[str, Any]) -> None:
    model, report = portable(positions=positions, **options), Report()
    stored = with_stored_positions(model, report)
    assert stored.description.model.positions == "learnable"
    assert report.notes == ["positions that were computed are stored, as if they were learned"]
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(logits(stored, images), logits(model, images), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"distillation_token": True}, {"pool": "class-mean"}])
def test_other_classes_are_a_new_head_and_said_so(options: dict[str, Any]) -> None:
    model, report = portable(**options), Report()
    adapted = for_classes(model, ("a", "b", "c"), 0, report)
    assert adapted.description.classes == ("a", "b", "c")
    assert logits(adapted, torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert report.left_out
    assert report.newly_made
    again = for_classes(model, ("a", "b", "c"), 0, Report())
    assert all(torch.equal(again.weights[name], value) for name, value in adapted.weights.items())
    kept = [name for name in model.weights if "classifier." not in name]
    assert all(adapted.weights[name] is model.weights[name] for name in kept)


def test_a_new_head_has_no_temperature_of_the_old_one_and_a_seed_of_its_own() -> None:
    model = portable()
    model = replace(model, description=replace(model.description, temperature=2.5))
    first, other = (for_classes(model, ("a", "b"), seed, Report()) for seed in (0, 1))
    assert first.description.temperature is None
    head = "head.classifier.weight"
    assert not torch.equal(first.weights[head], other.weights[head])


def test_a_head_of_two_layers_becomes_one_of_one() -> None:
    adapted = for_classes(portable(pre_logits_dimension=12), ("a", "b", "c"), 0, Report())
    assert adapted.description.model.pre_logits_dimension is None
    assert logits(adapted, torch.randn(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("options", [{}, {"distillation_token": True}, {"pool": "class-mean"}])
def test_classes_that_the_model_knows_keep_their_logits_in_whatever_order(options: dict[str, Any]) -> None:
    model, report = portable(**options), Report()
    known = model.description.classes
    adapted = for_classes(model, (known[2], known[0]), 0, report)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(logits(adapted, images), logits(model, images)[:, [2, 0]])
    assert adapted.description.classes == (known[2], known[0])
    assert (report.left_out, report.newly_made) == ([], [])
    assert report.transformed[0].how == f"2 of {len(known)} classes, by their names"


def test_temperature_and_accuracy_are_those_of_all_classes_together() -> None:
    model = portable()
    model = replace(model, description=replace(model.description, temperature=2.5))
    known = model.description.classes
    measured = {"metrics": {"test_accuracy": 1.0}}
    model = replace(model, description=replace(model.description, training=measured))
    turned, part = (for_classes(model, names, 0, Report()).description for names in (known[::-1], known[1:]))
    assert (turned.temperature, turned.training) == (2.5, measured)
    assert (part.temperature, part.training) == (None, {})


@pytest.mark.parametrize("names", ["one is unknown", "one is there twice"])
def test_names_that_do_not_tell_which_row_is_meant_make_a_new_head(names: str) -> None:
    """Of ImageNet's names, crane and maillot stand for two classes each."""
    model, report = portable(), Report()
    known = model.description.classes
    wanted: tuple[str, ...] = (known[0], "unknown")
    if names == "one is there twice":
        model = replace(model, description=replace(model.description, classes=(*known[:-1], known[0])))
        wanted = known[:2]
    for_classes(model, wanted, 0, report)
    assert report.left_out
    assert report.newly_made


def test_the_head_can_be_dropped() -> None:
    model = for_classes(replace(portable()), (), 0, Report())
    assert logits(model, torch.randn(2, 3, 32, 32)).shape == (2, 32)


def test_sizes_that_cannot_be_are_told() -> None:
    with pytest.raises(UsageFailure, match="not whole patches"):
        for_images(portable(), Report(), (30, 30))
    with pytest.raises(UsageFailure, match="LayerNorm of their pixels"):
        for_channels(portable(patch_normalization=True), 1, Report())
