"""Every recipe by name can be started."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.training.runs import make_images

from vision_transformers.data.cifar_jpeg import CLASSES
from vision_transformers.data.images import DataSets
from vision_transformers.data.loading import load_data
from vision_transformers.data.places import data_folders
from vision_transformers.errors import UsageFailure
from vision_transformers.recipes.finetune import Learns, finetune_on
from vision_transformers.recipes.table import RECIPES, find_recipe
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.train import train

FILES = {
    "mnist": ("MNIST/raw/train-images-idx3-ubyte",),
    "fashion-mnist": ("FashionMNIST/raw/train-images-idx3-ubyte",),
    "cifar100": ("cifar-100-python/train",),
}


def make_cifar(folder: Path) -> None:
    """A CIFAR-10 of four images a class."""
    for name in CLASSES:
        for part in ("train", "test"):
            (folder / part / name).mkdir(parents=True)
            for index in range(4):
                Image.new("RGB", (32, 32), (index, 20, 30)).save(folder / part / name / f"{index}.jpg")


def with_data(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with images to train on; skips the test where those of a known data set are not here."""
    if recipe.data.name == "folder":
        make_images(folder, classes=2)
        return replace(recipe, data=replace(recipe.data, path=str(folder), workers=0))
    if recipe.data.name == "cifar10":
        make_cifar(folder / "cifar10-jpeg")
        return replace(recipe, data=replace(recipe.data, root=str(folder), workers=0))
    files = FILES.get(recipe.data.name, ())
    places = [place / file for place in data_folders(recipe.data) for file in files]
    if files and not any(place.exists() for place in places):
        pytest.skip(f"{recipe.data.name} is not in $VISION_TRANSFORMERS_DATA")
    return recipe


def few(data: DataSets) -> DataSets:
    """The first images of each part."""
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    kept = {
        name: images and images.select(torch.arange(min(16, len(images)))) for name, images in parts.items()
    }
    return replace(data, **kept)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_called_by_its_name_and_says_how(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    assert f"vit train {name}" in (RECIPES[name].__doc__ or "")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On few of its images, so that the evaluation is short."""
    recipe = with_data(find_recipe(name), tmp_path / "images")
    monkeypatch.setattr("vision_transformers.training.train.load_data", lambda *of: few(load_data(*of)))
    few_steps = replace(recipe, steps=2, batch_size=8, accumulation=1, device="cpu", compile="off")
    result = train(few_steps, tmp_path / "run")
    assert result.metrics["step"] == 2
    assert {"train_loss", "test_loss"} <= result.metrics.keys()


def test_a_misspelt_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageFailure, match=r"no recipe is called 'mnits': did you mean 'mnist'\?"):
        find_recipe("mnits")


@pytest.mark.parametrize(
    ("images", "classes", "learns", "batch_size", "epochs", "frozen", "rate"),
    [
        (3, 3, None, 1, 100, "body", 1e-3),
        (100, 4, None, 8, 40, "body", 1e-3),
        (100, 4, "all", 8, 40, "nothing", 1e-4),
        (100, 4, "matrices", 8, 40, "nothing", 1e-3),
        (1000, 4, None, 64, 32, "nothing", 1e-4),
        (100_000, 100, None, 64, 5, "nothing", 1e-4),
    ],
)
def test_fine_tuning_fits_the_number_of_pictures(
    images: int,
    classes: int,
    learns: Learns | None,
    batch_size: int,
    epochs: int,
    frozen: str,
    rate: float,
) -> None:
    recipe, choices = finetune_on(images, classes, learns)
    assert (recipe.batch_size, recipe.epochs) == (batch_size, epochs)
    assert (recipe.frozen, recipe.optimizer.learning_rate) == (frozen, rate)
    assert all(choice.reason for choice in choices)
