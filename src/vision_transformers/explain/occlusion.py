"""Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901): what the model loses when a patch is not there."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.removal import Removal, judge_of
from vision_transformers.explain.tokens import of_classes
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT


@torch.no_grad()
def occlusion(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
    removal: Removal = "drop",
    window: int = 1,
) -> Float[Tensor, "batch rows columns"]:
    """How much the log-probability of a class falls without each patch.

    A transformer can leave tokens out: nothing has to be painted that it never saw in training, and the
    shorter sequence costs less.

    Args:
        model: any ViT with a head.
        images: normalised.
        classes: the class of each image that is asked about.
        removal: leave tokens out, or paint over pixels.
        window: patches along the side of what is taken out together, at every place of the grid; a patch has
            the mean of all windows that it was in.

    Raises:
        ValueError: the window is larger than the grid, or leaves nothing; the classes are not one for each
            image, or there is no such class.
    """
    rows, columns = model.grid(images)
    if not 1 <= window <= min(rows, columns) or window**2 == rows * columns:
        raise ValueError(
            f"window is {window}: expected at least 1, and less than the grid of {rows, columns}"
        )
    numbers = torch.arange(rows * columns, device=images.device).unflatten(0, (rows, columns))
    falls = images.new_zeros(len(images), rows, columns)
    counts = images.new_zeros(rows, columns)
    with evaluating(model):
        judge = judge_of(model, images, removal)

        def log_probability(kept: Int[Tensor, " kept"]) -> Float[Tensor, " batch"]:
            logits = judge(kept.expand(len(images), -1))
            return of_classes(logits.log_softmax(dim=1), classes)

        whole = log_probability(numbers.flatten())
        for top in range(rows - window + 1):
            for left in range(columns - window + 1):
                taken = torch.zeros(rows, columns, dtype=torch.bool, device=images.device)
                taken[top : top + window, left : left + window] = True
                falls += (whole - log_probability(numbers[~taken]))[:, None, None] * taken
                counts += taken
    return falls / counts
