"""Parameters that stay as they begin."""

from torch import nn

from vision_transformers.model.low_rank import is_low_rank
from vision_transformers.training.optimizer import depth
from vision_transformers.training.recipe import Recipe


def freeze(model: nn.Module, recipe: Recipe, probing: bool = False) -> None:
    """Takes the parameters that a recipe freezes out of training: they get no gradients.

    Args:
        model: with low-rank matrices, if the recipe has them.
        recipe: says what is frozen.
        probing: whether it is the beginning in which the head alone learns.
    """
    depths = {name: depth(name) for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        if probing or recipe.frozen == "body":
            learns = name.startswith("head.")
        elif recipe.low_rank.rank:
            learns = name.startswith("head.") or is_low_rank(name)
        elif recipe.frozen == "embeddings" or recipe.frozen_layers:
            learns = depths[name] > recipe.frozen_layers
        else:
            learns = True
        parameter.requires_grad_(learns)
