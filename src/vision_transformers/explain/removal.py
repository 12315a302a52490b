"""Ways to take patches out of an image, and what the model says of the rest."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vision_transformers.explain.tokens import embed, logits_of
from vision_transformers.model.vit import ViT

Removal = Literal["drop", "mean", "blur"]
"""Leave the tokens out; or paint over the patch: the image's mean colour, or the image blurred."""

Judge = Callable[[Int[Tensor, "batch kept"]], Float[Tensor, "batch classes"]]
"""From the patches that are left of each image, numbered in rows from the top left, to logits."""


def judge_of(model: ViT, images: Float[Tensor, "batch channels height width"], removal: Removal) -> Judge:
    """What the model says of images of which only some patches are left.

    Raises:
        ValueError: there is no such removal.
    """
    if removal == "drop":
        tokens = embed(model, images)
        return lambda kept: logits_of(model, tokens.keeping(kept))
    paint = painted(images, model.config.patch_shape, removal)

    def judge(kept: Int[Tensor, "batch kept"]) -> Float[Tensor, "batch classes"]:
        shown = _pixels_of(kept, model.grid(images), model.config.patch_shape)
        logits: Tensor = model(torch.where(shown[:, None], images, paint))
        return logits

    return judge


def painted(
    images: Float[Tensor, "batch channels height width"],
    patch_shape: tuple[int, int],
    removal: Literal["mean", "blur"],
) -> Float[Tensor, "batch channels height width"]:
    """What is painted where a patch is taken out.

    Raises:
        ValueError: nothing of this name is.
    """
    match removal:
        case "mean":
            return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
        case "blur":
            return _blurred(images, patch_shape)
        case _:
            raise ValueError(f"removal is {removal!r}: expected 'drop', 'mean' or 'blur'")


def _blurred(
    images: Float[Tensor, "batch channels height width"], patch_shape: tuple[int, int]
) -> Float[Tensor, "batch channels height width"]:
    from torchvision.transforms.v2.functional import gaussian_blur  # takes as long to import as torch

    sigma = float(max(patch_shape))
    reach = min(3 * max(patch_shape), min(images.shape[2:]) - 1) // 2 * 2 + 1
    blurred: Tensor = gaussian_blur(images, [reach, reach], [sigma, sigma])
    return blurred


def _pixels_of(
    patches: Int[Tensor, "batch kept"], grid: tuple[int, int], patch_shape: tuple[int, int]
) -> Bool[Tensor, "batch height width"]:
    """Which pixels belong to some patches."""
    shown = torch.zeros(len(patches), grid[0] * grid[1], dtype=torch.bool, device=patches.device)
    shown.scatter_(1, patches, True)
    rows = shown.unflatten(1, grid).repeat_interleave(patch_shape[0], dim=1)
    return rows.repeat_interleave(patch_shape[1], dim=2)
