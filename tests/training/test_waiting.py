"""A run that waits for its data says how much, for what, and what to change."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vision_transformers.data import vary_image
from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.images import ImageFiles, ImagesInMemory
from vision_transformers.recipes.table import find_recipe
from vision_transformers.training.train import train
from vision_transformers.training.waiting import Waiting, waiting_warning

FILES = ImageFiles((Path("a.jpg"),), torch.tensor([0]))
MEMORY = ImagesInMemory(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([0]), "here")


def test_the_first_batch_does_not_count_and_the_others_do() -> None:
    def slow():  # type: ignore[no-untyped-def]
        for batch in range(4):
            time.sleep(0.05)
            yield batch

    waiting = Waiting()
    for _ in waiting.for_each(slow()):
        time.sleep(0.05)
    assert 0.3 < waiting.share < 0.6


def test_what_to_change_depends_on_what_is_slow() -> None:
    recipe = find_recipe("folder")
    slow = waiting_warning(replace(recipe, augmentation=Augmentation(rand_augment=2)), FILES, 0.4, cores=8)
    assert slow is not None
    assert "40%" in slow
    assert "--data.workers 8" in slow
    assert "--augmentation.rand-augment 0" in slow
    in_memory = waiting_warning(find_recipe("digits"), MEMORY, 0.4, cores=8)
    assert in_memory is not None
    assert "workers" not in in_memory  # none are there
    assert waiting_warning(recipe, FILES, 0.05) is None


def test_a_run_that_waits_says_so_and_keeps_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = find_recipe("digits")
    recipe = replace(recipe, steps=4, augmentation=Augmentation(color_jitter=0.1), explain_every=None)
    recipe = replace(recipe, data=replace(recipe.data, workers=0))
    usual = vary_image.vary_image

    def slow(*arguments: object, **options: object) -> torch.Tensor:
        time.sleep(0.005)
        return usual(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(vary_image, "vary_image", slow)
    with caplog.at_level(logging.WARNING):
        train(recipe, tmp_path / "run")
    assert "of the time the run waited for pictures to be varied one at a time" in caplog.text
    rows = [json.loads(line) for line in (tmp_path / "run" / "timing.jsonl").read_text().splitlines()]
    assert rows[-1]["waiting_share"] > 0.1
