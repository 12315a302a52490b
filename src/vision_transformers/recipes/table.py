"""The recipes that `vit train` knows by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vision_transformers.config import nearest
from vision_transformers.errors import UsageFailure
from vision_transformers.model.presets import preset
from vision_transformers.recipes.cifar import cifar10, cifar10_fast, cifar10_minute, cifar100
from vision_transformers.recipes.digits import digits
from vision_transformers.recipes.finetune import finetune
from vision_transformers.recipes.folder import folder
from vision_transformers.recipes.mnist import (
    fashion_mnist,
    mnist,
    mnist_best,
    mnist_fast,
    mnist_plain,
    starting_mnist,
)
from vision_transformers.training.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "mnist": mnist,
    "mnist-best": mnist_best,
    "mnist-fast": mnist_fast,
    "mnist-plain": mnist_plain,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar10-minute": cifar10_minute,
    "cifar10-fast": cifar10_fast,
    "cifar100": cifar100,
    "folder": folder,
    "finetune": finetune,
    "starting-mnist": starting_mnist,
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageFailure: there is none; names the nearest.
    """
    if name not in RECIPES:
        if Path(name).is_dir():
            raise UsageFailure(
                f"{name} is no recipe but a folder: `vit train folder --data.path {name}` learns from its "
                "pictures"
            )
        raise UsageFailure(f"no recipe is called {name!r}: {nearest(name, RECIPES)}")
    return RECIPES[name]()


def with_preset(recipe: Recipe, name: str) -> Recipe:
    """The recipe with a model of that name, and with images of the size that it is made for.

    Dropout and stochastic depth stay the recipe's, and so do channels; the data decides the classes.

    Raises:
        UsageFailure: no preset has that name; names the nearest.
    """
    model = preset(
        name,
        number_of_classes=0,
        number_of_channels=recipe.preprocessing.channels,
        dropout=recipe.model.dropout,
        stochastic_depth=recipe.model.stochastic_depth,
    )
    return replace(
        recipe, model=model, preprocessing=replace(recipe.preprocessing, size=model.max_image_shape)
    )


def with_image_shape(recipe: Recipe, shape: tuple[int, int]) -> Recipe:
    """The recipe with images of so many rows and columns of pixels."""
    return replace(
        recipe,
        model=replace(recipe.model, max_image_shape=shape),
        preprocessing=replace(recipe.preprocessing, size=shape),
    )
