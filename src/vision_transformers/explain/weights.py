"""What the weights of a trained model look like: the pictures of the paper's figure 7."""

import torch
from jaxtyping import Float
from torch import Tensor

from vision_transformers.explain.tokens import embed
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.stem import ConvolutionalStem
from vision_transformers.model.vit import ViT


@torch.no_grad()
def patch_filters(model: ViT, count: int = 28) -> Float[Tensor, "count channels rows columns"]:
    """The first principal components of the patch embedding's filters, by what they explain (figure 7, left).

    Of a stem, the first convolution's filters, of 4 x 4 pixels.

    Args:
        model: any ViT.
        count: how many, as far as there are.
    """
    config, patches = model.config, model.patches
    extractor = patches.convolutions[0] if isinstance(patches, ConvolutionalStem) else patches.projector
    weight = extractor.get_parameter("weight")
    if weight.ndim == 2:
        weight = weight.unflatten(1, (*config.patch_shape, config.number_of_channels)).permute(0, 3, 1, 2)
    _, _, components = torch.linalg.svd(weight.flatten(1).float(), full_matrices=False)
    return components[:count].unflatten(1, tuple(weight.shape[1:]))


@torch.no_grad()
def position_similarity(model: ViT) -> Float[Tensor, "rows columns rows columns"]:
    """The cosine of every patch's position with every other's (figure 7, middle).

    Raises:
        ValueError: the model adds no positions to its patches.
    """
    grid, prefix = model.config.grid, model.number_of_prefix_tokens
    positions = model.added_positions(grid)[0, prefix:]
    if not positions.any():
        raise ValueError(f"the model adds no positions to its patches: they are {model.config.positions!r}")
    unit = torch.nn.functional.normalize(positions, dim=1)
    return (unit @ unit.T).unflatten(1, grid).unflatten(0, grid)


@torch.no_grad()
def attention_distance(
    model: ViT, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "layers heads"]:
    """How far apart the patches are that attend to each other, in pixels, for each head (figure 7, right).

    The mean over images and patches of the distance between middles, weighed by attention; what goes to
    prefix tokens has no distance and does not count.
    """
    prefix, (rows, columns) = model.number_of_prefix_tokens, model.grid(images)
    height, width = model.config.patch_shape
    y, x = torch.meshgrid(
        torch.arange(rows, device=images.device) * height,
        torch.arange(columns, device=images.device) * width,
        indexing="ij",
    )
    middles = torch.stack([y, x], dim=-1).flatten(0, 1).float()
    distances = torch.cdist(middles, middles)
    means = []
    with evaluating(model):
        tokens = embed(model, images)
        every_layer = range(len(model.transformer.layers))
        states = model.transformer.states(tokens.sequence, tokens.rotation, weights_of=every_layer)
        for _, weights in states:
            assert weights is not None
            between = weights[:, :, prefix:, prefix:]
            between = between / between.sum(dim=-1, keepdim=True)
            means.append((between * distances).sum(dim=-1).mean(dim=(0, 2)))
    return torch.stack(means)
