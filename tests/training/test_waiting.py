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
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.train import train
from vision_transformers.training.waiting import Waiting, waiting_warning

FILES = ImageFiles((Path("a.jpg"),), torch.tensor([0]))
MEMORY = ImagesInMemory(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([0]), "here")


def test_the_first_batch_and_what_follows_a_step_do_not_count() -> None:
    def slow():  # type: ignore[no-untyped-def]
        for batch in range(4):
            time.sleep(0.05)
            yield batch

    waiting = Waiting()
    for _ in waiting.for_each(slow()):
        time.sleep(0.05)
        waiting.step_done()
        time.sleep(0.2)  # as an evaluation or a checkpoint
    assert 0.3 < waiting.share < 0.6


def test_what_to_change_depends_on_what_is_slow() -> None:
    recipe = find_recipe("folder")
    slow = waiting_warning(replace(recipe, augmentation=Augmentation(rand_augment=2)), FILES, 0.4, cores=8)
    assert slow is not None
    assert "40%" in slow
    assert "--data.workers 8" in slow
    assert "--augmentation.rand-augment 0" in slow
    shifted = replace(find_recipe("digits"), augmentation=Augmentation(shift=1, elastic=2.0))
    in_memory = waiting_warning(shifted, MEMORY, 0.4, cores=8)
    assert in_memory is not None
    assert "workers" not in in_memory  # none are there
    assert in_memory.endswith("less of --augmentation.shift, or less of --augmentation.elastic")
    assert waiting_warning(recipe, FILES, 0.05) is None


@pytest.mark.parametrize(("side", "is_said"), [(32, False), (224, False), (500, True)])
def test_smaller_files_are_advised_only_where_they_are_large(side: int, is_said: bool) -> None:
    warning = waiting_warning(find_recipe("folder"), FILES, 0.4, cores=8, picture_size=(side, side))
    assert warning is not None
    assert ("no larger than they need be (224 x 224" in warning) == is_said


def test_it_is_said_once_as_soon_as_it_can_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for hours hears of it in time to change something."""
    monkeypatch.setattr("vision_transformers.training.waiting.STEPS_THAT_TELL", 3)
    monkeypatch.setattr("vision_transformers.training.waiting.WAITING_WORTH_SAYING", -1.0)
    rows: list[tuple[int, int]] = []

    class Watch(Silent):
        def stepped(self, report: StepReport) -> None:
            rows.append((report.step, caplog.text.count("of the time the run waited")))

    recipe = replace(find_recipe("digits"), steps=8, log_steps=2, explain_every=None)
    train(recipe, tmp_path / "run", Watch())
    assert rows == [(step, int(step > 4)) for step in range(1, 9)]
    assert caplog.text.count("of the time the run waited") == 1


def test_a_run_of_a_moment_is_told_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, a tenth of a tenth of a second is soon waited for."""
    monkeypatch.setattr("vision_transformers.training.waiting.WAITING_WORTH_SAYING", -1.0)
    train(replace(find_recipe("digits"), steps=3, explain_every=None), tmp_path / "run")
    assert "of the time the run waited" not in caplog.text


def test_a_run_that_waits_says_so_and_keeps_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = find_recipe("digits")
    recipe = replace(recipe, steps=4, augmentation=Augmentation(color_jitter=0.1), explain_every=None)
    recipe = replace(recipe, data=replace(recipe.data, workers=0))
    usual = vary_image.vary_image

    def slow(*arguments: object, **options: object) -> torch.Tensor:
        time.sleep(0.01)
        return usual(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(vary_image, "vary_image", slow)
    with caplog.at_level(logging.WARNING):
        train(recipe, tmp_path / "run")
    assert "of the time the run waited for pictures to be varied one at a time" in caplog.text
    rows = [json.loads(line) for line in (tmp_path / "run" / "timing.jsonl").read_text().splitlines()]
    assert rows[-1]["waiting_share"] > 0.1
