"""Colours for what is alike, and what is said of tokens that have lost their place."""

from typing import Any

import pytest
import torch
from tests.explain.models import GRID, IMAGES, random_model

from vision_transformers.explain.features import feature_colours, high_norm_tokens


def test_patches_have_a_colour_each_also_where_they_are_too_few_for_three() -> None:
    model = random_model({})
    colours = feature_colours(model, IMAGES)
    assert colours.shape == (3, *GRID, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    few = feature_colours(model, IMAGES[:1, :, :4, :8])
    assert few.shape == (1, 1, 2, 3)
    assert (few[..., 2] == 0).all()


@torch.no_grad()
def test_colours_are_the_first_components_of_the_patches_features() -> None:
    """Of all images together; the sign of each makes its largest entry positive."""
    model = random_model({"number_of_register_tokens": 2})
    features = model.encode(IMAGES)[0][:, model.number_of_prefix_tokens :].flatten(0, 1).double()
    centred = features - features.mean(dim=0)
    colours = feature_colours(model, IMAGES).flatten(0, 2)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    for found, direction in zip(colours.unbind(1), vectors.flip(1).unbind(1), strict=False):
        projected = centred @ direction * direction[direction.abs().argmax()].sign()
        low, high = projected.quantile(0.01), projected.quantile(0.99)
        expected = ((projected - low) / (high - low)).clamp(0, 1)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "advises"), [({}, True), ({"number_of_register_tokens": 3}, False)], ids=["none", "registers"]
)
def test_registers_are_advised_where_there_are_none(options: dict[str, Any], advises: bool) -> None:
    """A model may have registers and outliers all the same."""
    model = random_model(options)
    with torch.no_grad():
        model.transformer.layers[-1].feed_forward.output_layer.weight.zero_()
        model.patches.projector.weight.mul_(10)
    images = torch.zeros_like(IMAGES)
    images[:, :, :4, :4] = 100.0
    found = high_norm_tokens(model, images)
    assert found.outliers[:, 0, 0].all()
    warning = found.warning()
    assert warning is not None
    assert ("register tokens" in warning) == advises
    assert high_norm_tokens(model, torch.zeros_like(IMAGES)).warning() is None


@torch.no_grad()
def test_a_patch_is_long_beside_those_of_its_own_image() -> None:
    """Beside the others' it would be, of an image that is long as a whole."""
    model, images = random_model({}), IMAGES.clone()
    model.transformer.layers[-1].feed_forward.output_layer.weight.zero_()
    model.patches.projector.weight.mul_(10)
    images[0] *= 100
    together, alone = high_norm_tokens(model, images), high_norm_tokens(model, images[:1])
    assert torch.equal(together.outliers[0], alone.outliers[0])
