"""What fine-tuning says of its choices is true of the pictures that it learns from."""

from pathlib import Path

import pytest
from tests.photographs import save_photographs

from vision_transformers.data.folder import count_training_images
from vision_transformers.data.source import DataSource
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.low_rank import add_low_rank
from vision_transformers.model.vit import ViT
from vision_transformers.recipes.finetune import finetune_on
from vision_transformers.training.optimizer import Optimizers


def test_the_reasons_are_of_the_pictures_that_are_left_after_those_held_out(tmp_path: Path) -> None:
    for number in range(30):
        save_photographs(tmp_path / f"class-{number:02}", 3)
    images, classes = count_training_images(DataSource(name="folder", path=str(tmp_path)))
    _, choices = finetune_on(images, classes)
    assert choices[0].reason == "30 pictures to learn from: at least 8 steps an epoch"
    assert choices[2].reason == "1 pictures a class, fewer than 50"


def test_low_rank_matrices_learn_at_the_rate_that_is_printed_in_every_layer() -> None:
    """With a decay of 0.75, those of the first of twelve layers would learn at 0.03 of it."""
    recipe, choices = finetune_on(1000, 4, "matrices")
    model = ViT((4, 4), 16, 3, 2, 24, 3, 4, (8, 8))
    add_low_rank(model.transformer.layers, LowRankConfig(2))
    said = {choice.option: choice.value for choice in choices}
    assert {group["lr"] for group in Optimizers(model, recipe.optimizer).groups} == {
        float(said["optimizer.learning-rate"])
    }
    assert float(said["optimizer.layer-decay"]) == recipe.optimizer.layer_decay


@pytest.mark.parametrize("images", [1, 7, 8, 100_000])
def test_eight_steps_are_promised_where_they_are_kept(images: int) -> None:
    recipe, choices = finetune_on(images, 1)
    assert ("at least 8 steps" in choices[0].reason) == (images // recipe.batch_size >= 8)
