"""RandAugment of a batch is torchvision's, image by image, and is recorded with no size that changes."""

from collections.abc import Callable, Iterable
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.rand_augment import OPERATIONS, operate, rand_augment
from vision_transformers.data.vary_batch import vary_batch
from vision_transformers.data.vary_colors import jitter

BY_NUMBER = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)


def pictures(channels: int, height: int = 30, width: int = 40) -> Tensor:
    """Smooth ones, as photographs are: between neighbours lies little."""
    torch.manual_seed(0)
    coarse = torch.rand(5, channels, 5, 6)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 200 + 20).round().byte()


def of_torchvision(pixels: Tensor, name: str, magnitude: int, direction: float) -> Tensor:
    theirs = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)
    magnitudes, is_signed = theirs._AUGMENTATION_SPACE[name]
    height, width = pixels.shape[-2:]
    strengths = magnitudes(31, height, width)
    strength = 0.0 if strengths is None else float(strengths[magnitude]) * (direction if is_signed else 1)
    found: Tensor = theirs._apply_image_or_video_transform(
        pixels, name, strength, theirs.interpolation, theirs._fill
    )
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("number", range(OPERATIONS))
def test_each_operation_is_torchvisions(number: int, magnitude: int, channels: int) -> None:
    pixels = pictures(channels)
    directions = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    found = operate(pixels, magnitude, torch.full((5,), number), directions)
    for image, direction, ours in zip(pixels, directions.tolist(), found, strict=True):
        theirs = of_torchvision(image, BY_NUMBER[number], magnitude, direction)
        apart = (ours.int() - theirs.int()).abs()
        assert apart.float().mean() < 0.3
        assert (apart > 1).float().mean() < 0.01  # at a border, rounding decides whether a pixel is inside


def test_every_image_takes_its_own_operation() -> None:
    pixels = pictures(3)
    choice, directions = torch.tensor([0, 5, 7, 13, 11]), torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    together = operate(pixels, 9, choice, directions)
    for image in range(5):
        alone = operate(pixels[[image]], 9, choice[[image]], directions[[image]])
        assert torch.equal(together[[image]], alone)
    assert torch.equal(together[0], pixels[0])


def test_operations_follow_one_another() -> None:
    pixels = pictures(3)
    numbers = torch.tensor([[6.5 / OPERATIONS, 0.9, 11.5 / OPERATIONS, 0.1]]).expand(5, -1)
    once = operate(pixels, 20, torch.full((5,), 6), torch.ones(5))
    twice = operate(once, 20, torch.full((5,), 11), -torch.ones(5))
    assert torch.equal(rand_augment(pixels, 20, numbers), twice)


def test_jitter_changes_each_of_three_in_any_order() -> None:
    pixels = pictures(3)
    operations = (
        lambda image: v2.functional.adjust_brightness(image, 1.4),
        lambda image: v2.functional.adjust_contrast(image, 0.6),
        lambda image: v2.functional.adjust_saturation(image, 1.3),
    )
    orders = [(first, second, 3 - first - second) for first, second in permutations(range(3), 2)]
    found = set()
    for number in range(6):
        numbers = torch.tensor([[0.9, 0.1, 0.8, (number + 0.5) / 6]]).expand(5, -1)
        ours = jitter(pixels, 0.5, numbers).int()
        apart = {
            order: float(
                (_after(pixels, [operations[which] for which in order]).int() - ours).abs().float().mean()
            )
            for order in orders
        }
        nearest = min(orders, key=apart.__getitem__)
        assert apart[nearest] < 0.5
        found.add(nearest)
    assert found == set(orders)


def _after(pixels: Tensor, operations: Iterable[Callable[[Tensor], Tensor]]) -> Tensor:
    for operation in operations:
        pixels = operation(pixels)
    return pixels


def test_an_image_is_varied_alike_in_every_batch() -> None:
    pixels = pictures(3).repeat(4, 1, 1, 1)
    indices = torch.arange(20)
    augmentation = Augmentation(rand_augment=2, rand_augment_magnitude=12, color_jitter=0.4, erasing=0.5)
    together = vary_batch(pixels, indices, augmentation, seed=3, epoch=1)
    some = torch.tensor([17, 2, 9])
    assert torch.equal(vary_batch(pixels[some], some, augmentation, seed=3, epoch=1), together[some])
    again = vary_batch(pixels, indices, augmentation, seed=3, epoch=2)
    assert not torch.equal(again, together)
