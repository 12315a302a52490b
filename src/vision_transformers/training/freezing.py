"""Parameters that stay as they begin."""

from torch import nn

from vision_transformers.errors import UsageFailure
from vision_transformers.training.optimizer import IN_HEAD, depth
from vision_transformers.training.recipe import Recipe


def freeze(model: nn.Module, recipe: Recipe) -> None:
    """Takes the parameters that a recipe freezes out of training: they get no gradients.

    Raises:
        UsageFailure: there are not so many layers.
    """
    depths = {name: depth(name) for name, _ in model.named_parameters()}
    layers = max(value for value in depths.values() if value != IN_HEAD)
    if not 0 <= recipe.frozen_layers <= layers:
        raise UsageFailure(f"frozen_layers is {recipe.frozen_layers}: the model has {layers} layers")
    for name, parameter in model.named_parameters():
        if recipe.frozen == "body":
            parameter.requires_grad_(name.startswith("head."))
        elif recipe.frozen == "embeddings" or recipe.frozen_layers:
            parameter.requires_grad_(depths[name] > recipe.frozen_layers)
