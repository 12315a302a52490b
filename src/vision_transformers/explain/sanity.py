"""Whether maps depend on what a model has learned (Adebayo et al. 2018, arXiv 1810.03292)."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.methods import Explain
from vision_transformers.model.vit import ViT


def randomised_from_the_top(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
    explain: Explain,
    seed: int = 0,
) -> Float[Tensor, " stages"]:
    """How alike maps stay while weights are made fresh: the head, then each encoder from the last.

    Returns:
        The mean rank correlation with the maps of the trained model, after each stage; an explanation of the
        model falls, one of the picture alone stays near 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh = ViT.from_config(model.config).state_dict()
    changed = copy.deepcopy(model)
    before = explain(model, images, classes)
    layers = range(model.config.number_of_layers - 1, -1, -1)
    stages = [("head.", "transformer.normalization."), *((f"transformer.layers.{n}.",) for n in layers)]
    correlations = []
    for stage in stages:
        state = {name: value for name, value in fresh.items() if name.startswith(stage)}
        changed.load_state_dict(state, strict=False)
        correlations.append(_rank_correlation(before, explain(changed, images, classes)))
    return torch.stack(correlations)


def _rank_correlation(
    first: Float[Tensor, "batch rows columns"], second: Float[Tensor, "batch rows columns"]
) -> Float[Tensor, ""]:
    """Spearman's, the mean over images."""
    ranks = [_centred_ranks(maps.flatten(1)) for maps in (first, second)]
    return torch.nn.functional.cosine_similarity(ranks[0], ranks[1], dim=1).mean()


def _centred_ranks(values: Float[Tensor, "batch patches"]) -> Float[Tensor, "batch patches"]:
    """Of each value, how many are smaller less how many are larger; equal values share their rank."""
    return (values[:, :, None] - values[:, None, :]).sign().sum(dim=2)
