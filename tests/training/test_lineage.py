"""Whoever goes on with a model is told when it has learned from what is to test it now."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.recipes import tiny
from tests.training.runs import make_images

from vision_transformers.data.source import DataSource
from vision_transformers.training.lineage import records_before
from vision_transformers.training.recipe import Recipe, Teacher
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

TOLD = "may have learned from some by which this run's test accuracy is measured"


def on_folder(path: Path) -> Recipe:
    recipe = tiny(data=DataSource("folder", path=str(path), workers=0), batch_size=4)
    model = replace(recipe.model, number_of_channels=3, number_of_classes=0)
    return replace(recipe, model=model, preprocessing=replace(recipe.preprocessing, channels=3))


@pytest.mark.parametrize(
    ("split_seed", "is_told"), [(0, False), (3, True)], ids=["held out alike", "held out otherwise"]
)
@pytest.mark.parametrize("way", ["init", "teacher", "init of an init"])
def test_images_that_were_held_out_alike_are_a_test_and_others_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str, split_seed: int, is_told: bool
) -> None:
    first = str(train(tiny(), tmp_path / "first").folder)
    data = DataSource("digits", split_seed=split_seed, workers=0)
    if way == "teacher":
        recipe = tiny(data=data, teacher=Teacher(source=first))
    elif way == "init":
        recipe = tiny(data=data, init=first)
    else:
        between = train(tiny(init=first, seed=1), tmp_path / "between").folder
        recipe = tiny(data=data, init=str(between))
    caplog.clear()
    train(recipe, tmp_path / "last")
    assert (TOLD in caplog.text) == is_told


def test_pictures_that_were_added_part_the_others_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The commonest way to go on; with a test folder apart, nothing is told."""
    make_images(tmp_path / "mixed")
    for part in ("train", "test"):
        make_images(tmp_path / "apart" / part)
    for name in ("mixed", "apart"):
        first = train(on_folder(tmp_path / name), tmp_path / f"first of {name}").folder
        learned = tmp_path / name / ("train/class-0" if name == "apart" else "class-0")
        (learned / "more.png").write_bytes((learned / "0.png").read_bytes())
        caplog.clear()
        train(replace(on_folder(tmp_path / name), init=str(first)), tmp_path / f"last of {name}")
        assert (TOLD in caplog.text) == (name == "mixed")


def test_paths_that_lead_back_to_where_they_began_end(tmp_path: Path) -> None:
    """A run may lie where one lay that it has begun with."""
    one, other = (train(tiny(), tmp_path / name).folder for name in ("one", "other"))
    for run, source in ((one, other), (other, one)):
        record = RunFolder(run).record()
        RunFolder(run).write(replace(record, recipe=replace(record.recipe, init=str(source))))
    behind = [source for source, _ in records_before(RunFolder(one).record().recipe)]
    assert behind == [str(other), str(one)]
