"""Tokens that convolutions make: in the order of patches, and about what lies around each."""

import pytest
import torch

from vision_transformers.model.stem import ConvolutionalStem


def seen_by(stem: ConvolutionalStem, token: int, size: int) -> tuple[list[int], list[int]]:
    """First and last row, and first and last column, of the pixels on which a token depends."""
    image = torch.randn(1, 1, size, size, requires_grad=True)
    stem(image)[0, token].square().sum().backward()
    assert image.grad is not None
    places = image.grad[0, 0].nonzero()
    return places.min(dim=0).values.tolist(), places.max(dim=0).values.tolist()


@pytest.mark.parametrize(("patch", "around"), [(2, 3), (4, 9)])
def test_a_token_sees_as_far_to_all_sides_of_its_patch(patch: int, around: int) -> None:
    """Else maps of what mattered would lie beside it, and tokens would be taken for others' patches."""
    torch.manual_seed(0)
    stem, columns = ConvolutionalStem(16, (patch, patch), 1), 16
    row, column = 7, 9
    first, last = seen_by(stem, row * columns + column, columns * patch)
    assert first == [row * patch - around, column * patch - around]
    assert last == [(row + 1) * patch - 1 + around, (column + 1) * patch - 1 + around]


def test_an_images_tokens_do_not_depend_on_the_others_of_its_batch() -> None:
    """Else a picture would be judged by its neighbours, and a batch in parts would train another model."""
    stem, images = ConvolutionalStem(16, (4, 4), 3), torch.randn(6, 3, 16, 24)
    torch.testing.assert_close(stem(images)[:2], stem(images[:2]))
    assert stem(images).shape == (6, 4 * 6, 16)


@pytest.mark.parametrize("patch_shape", [(1, 1), (3, 3), (4, 8)])
def test_patches_that_halving_does_not_give_are_refused(patch_shape: tuple[int, int]) -> None:
    """Else there would be more or fewer tokens than patches."""
    with pytest.raises(ValueError, match="a stem halves the image until a pixel is a patch"):
        ConvolutionalStem(16, patch_shape, 3)


def test_a_size_that_is_not_whole_patches_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"width 18 is not a multiple of the patch's 4 pixels.*16 or 20"):
        ConvolutionalStem(16, (4, 4), 3)(torch.randn(1, 3, 16, 18))
