import pytest
import torch

from vision_transformers.model.patches import (
    ConvolutionalFeatureExtractor,
    LinearFeatureExtractor,
    grid_shape,
    number_of_patches,
)
from vision_transformers.model.stem import ConvolutionalStem


def test_a_flat_patch_has_the_order_row_column_channel():
    """Else weights of other projects, and pictures drawn from the projection's rows, would be scrambled."""
    channels, height, width, (patch_height, patch_width) = 2, 4, 9, (2, 3)
    image = torch.arange(float(channels * height * width)).reshape(1, channels, height, width)
    expected = [
        [
            image[0, channel, row * patch_height + y, column * patch_width + x].item()
            for y in range(patch_height)
            for x in range(patch_width)
            for channel in range(channels)
        ]
        for row in range(height // patch_height)
        for column in range(width // patch_width)
    ]
    patches = LinearFeatureExtractor(5, (patch_height, patch_width), channels).patches(image)
    assert patches[0].tolist() == expected


@pytest.mark.parametrize("kind", [LinearFeatureExtractor, ConvolutionalFeatureExtractor])
def test_an_image_becomes_one_token_for_each_patch(kind):
    assert kind(5, (2, 3), 2)(torch.randn(7, 2, 4, 9)).shape == (7, 6, 5)


@pytest.mark.parametrize("kind", [LinearFeatureExtractor, ConvolutionalFeatureExtractor])
@pytest.mark.parametrize(("height", "width"), [(5, 9), (4, 8), (1, 9)])
def test_an_image_that_patches_do_not_tile_is_refused(kind, height, width):
    """Else a convolution would silently ignore the pixels at the right and at the bottom."""
    with pytest.raises(ValueError, match="not a multiple of the patch"):
        kind(5, (2, 3), 2)(torch.randn(1, 2, height, width))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_convolutional_extractors_compute_the_same(bias):
    """Else a model with one of them could not be saved for a project that has the other."""
    linear = LinearFeatureExtractor(5, (2, 3), 4, bias=bias)
    convolutional = linear.to_convolutional()
    image = torch.randn(7, 4, 6, 9)
    torch.testing.assert_close(convolutional(image), linear(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_conversion_there_and_back_gives_the_same_bits(bias, dtype):
    linear = LinearFeatureExtractor(5, (2, 3), 4, bias=bias).to(dtype)
    there_and_back = linear.to_convolutional().to_linear()
    assert there_and_back.state_dict().keys() == linear.state_dict().keys()
    for name, parameter in linear.state_dict().items():
        assert torch.equal(there_and_back.state_dict()[name], parameter)


def test_a_converted_extractor_has_its_own_parameters():
    """Else to train the copy would change the original."""
    linear = LinearFeatureExtractor(5, (2, 3), 4)
    before = linear.projector.weight.clone()
    torch.nn.init.zeros_(linear.to_convolutional().projector.weight)
    assert torch.equal(linear.projector.weight, before)


def test_layer_norms_around_the_projection_cannot_become_a_convolution():
    """Else they would be lost without a word."""
    with pytest.raises(ValueError, match="LayerNorms"):
        LinearFeatureExtractor(5, (2, 3), 4, normalize=True).to_convolutional()


def test_number_of_patches_counts_both_sides():
    assert number_of_patches((224, 224), (16, 16)) == 196
    assert number_of_patches((20, 36), (4, 4)) == 45
    assert grid_shape((20, 36), (4, 6)) == (5, 6)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((30, 28), "height 30 .* the nearest are 28 or 32"),
        ((28, 33), "width 33 .* the nearest are 32 or 36"),
        ((3, 28), "height 3 .* the nearest are 4 or 8"),
    ],
)
def test_a_size_that_does_not_fit_names_the_two_nearest_that_do(image_shape, message):
    with pytest.raises(ValueError, match=message):
        number_of_patches(image_shape, (4, 4))


@pytest.mark.parametrize("kind", [LinearFeatureExtractor, ConvolutionalFeatureExtractor, ConvolutionalStem])
def test_images_of_another_number_of_channels_are_told(kind):
    extractor = kind(16, (4, 4), 3)
    with pytest.raises(ValueError, match="the images have 1 channels: expected 3"):
        extractor(torch.randn(2, 1, 8, 8))
