"""What fine-tuning says of its choices is true of the pictures that it learns from."""

from pathlib import Path

import pytest
from tests.photographs import save_photographs

from vision_transformers.data.folder import count_training_images
from vision_transformers.data.source import DataSource
from vision_transformers.recipes.finetune import finetune_on


def test_the_reasons_are_of_the_pictures_that_are_left_after_those_held_out(tmp_path: Path) -> None:
    for number in range(30):
        save_photographs(tmp_path / f"class-{number:02}", 3)
    images, classes = count_training_images(DataSource(name="folder", path=str(tmp_path)))
    _, choices = finetune_on(images, classes)
    assert choices[0].reason == "30 pictures to learn from: at least 8 steps an epoch"
    assert choices[2].reason == "1 pictures a class, fewer than 50"


@pytest.mark.parametrize("images", [1, 7, 8, 100_000])
def test_eight_steps_are_promised_where_they_are_kept(images: int) -> None:
    recipe, choices = finetune_on(images, 1)
    assert ("at least 8 steps" in choices[0].reason) == (images // recipe.batch_size >= 8)
