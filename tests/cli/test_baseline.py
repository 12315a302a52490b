"""`vit evaluate --baseline` tells whether a model is better than another on the same images."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.classifiers import CLASSES, random_classifier
from tests.commands import Finished, Vit
from tests.photographs import noise, save_photographs

from vision_transformers.weights.adaptation import for_classes
from vision_transformers.weights.conversion import read_native, write_native
from vision_transformers.weights.report import Report

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = [
    *("train", "digits", "--model.patch-shape", "4", "4", "--model.model-dimension", "16"),
    *("--model.number-of-layers", "1", "--model.number-of-heads", "2", "--model.hidden-dimension", "16"),
    *("--threads", "1", "--device", "cpu"),
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures beside a model and another one, which prepares them otherwise and knows the same classes."""
    random_classifier().save(tmp_path / "new")
    model = read_native(tmp_path / "new")
    preprocessing = replace(model.description.preprocessing, mean=(0.4, 0.4, 0.4), interpolation="bilinear")
    classes = (*CLASSES[1:], CLASSES[0])
    other = replace(model.description, classes=classes, preprocessing=preprocessing)
    write_native(tmp_path / "old", replace(model, description=other))
    for place, name in enumerate(CLASSES):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(noise(10 * place + number, 20, 30)).save(folder / f"{number}.png")
    return tmp_path


def evaluate(vit: Vit, folder: Path, *arguments: str) -> Finished:
    return vit.run(folder, ["evaluate", *arguments, "--device", "cpu", "--workers", "0"])


def baseline(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["baseline"]
    return content


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_said_is_what_each_picture_says(vit: Vit, pictures: Path) -> None:
    """Whoever doubts the sum counts the rows."""
    finished = evaluate(vit, pictures, "new", "pets", "--baseline", "old", "--output", "beside")
    assert finished.code == 0, finished.errors
    found, table = baseline(pictures / "beside"), rows(pictures / "beside")
    assert len(table) == 6 * len(CLASSES)
    right = [(row["guess"] == row["label"], row["baseline_guess"] == row["label"]) for row in table]
    counts = [right.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert [found[name] for name in ("both_right", "gained", "lost", "neither_right")] == counts
    assert found["difference"]["accuracy"] == pytest.approx((counts[1] - counts[2]) / len(table))
    assert found["gained"] + found["lost"] > 3
    assert f"{found['top_1']['accuracy']:.2%} by old" in finished.output
    assert f"{counts[1]} images gained, {counts[2]} lost" in finished.output
    page = (pictures / "beside" / "index.html").read_text()
    assert "Beside old" in page
    for gallery in ("gained", "lost"):
        assert (pictures / "beside" / f"{gallery}.png").exists() == (found[gallery] > 0)


def test_whatever_a_picture_is_called_its_row_is_one_row(vit: Vit, pictures: Path) -> None:
    (pictures / "pets" / "cat" / "0.png").rename(pictures / "pets" / "cat" / 'one\rtwo, "three".png')
    assert evaluate(vit, pictures, "new", "pets", "--output", "alone").code == 0
    table = rows(pictures / "alone")
    assert len(table) == 6 * len(CLASSES)
    assert [row["picture"] for row in table if "two" in row["picture"]] == ['pets/cat/one\rtwo, "three".png']


def test_the_baseline_judged_alone_says_the_same(vit: Vit, pictures: Path) -> None:
    """Its pictures are prepared as it wants them, not as the other model does."""
    evaluate(vit, pictures, "new", "pets", "--baseline", "old", "--output", "beside")
    evaluate(vit, pictures, "old", "pets", "--output", "alone")
    alone, beside = rows(pictures / "alone"), rows(pictures / "beside")
    assert [(row["picture"], row["guess"], row["probability"]) for row in alone] == [
        (row["picture"], row["baseline_guess"], row["baseline_probability"]) for row in beside
    ]
    assert {row["baseline_guess"] for row in alone} == {""}


def test_the_same_model_with_its_classes_in_another_order_is_as_good(vit: Vit, pictures: Path) -> None:
    model = for_classes(read_native(pictures / "new"), CLASSES[::-1], 0, Report())
    write_native(pictures / "turned", model)
    finished = evaluate(vit, pictures, "new", "pets", "--baseline", "turned", "--output", "beside")
    assert finished.code == 0, finished.errors
    found = baseline(pictures / "beside")
    assert (found["gained"], found["lost"], found["p_value"]) == (0, 0, 1)
    assert "Nothing." in (pictures / "beside" / "index.html").read_text()


def test_runs_that_parted_their_images_otherwise_are_not_compared_by_them(vit: Vit, tmp_path: Path) -> None:
    """What one of them held out, the other learned from."""
    for run, seed in (("one", "0"), ("two", "1")):
        trained = vit.run(tmp_path, [*TINY, "--epochs", "1", "--data.split-seed", seed, "--run-folder", run])
        assert trained.code == 0, trained.errors
    other = evaluate(vit, tmp_path, "one", "digits", "--split", "validation", "--baseline", "two")
    assert (other.code, other.output) == (2, "")
    assert "their runs have parted them otherwise" in other.errors
    assert not (tmp_path / "one" / "evaluation").exists()
    both = evaluate(vit, tmp_path, "one", "digits", "--split", "all", "--baseline", "two")
    assert both.code == 0, both.errors
    assert both.output.count("was trained on some of these images: the numbers flatter it") == 2


def test_a_model_of_no_run_is_judged_by_what_the_other_ones_run_held_out(vit: Vit, tmp_path: Path) -> None:
    """As the model that a run has begun with; another run, which held out others, has learned from them."""
    for name in ("cat", "dog", "owl"):
        save_photographs(tmp_path / "pets" / name, 10)
    folder = ["--model.number-of-classes", "0", "--steps", "1", "--batch-size", "4"]
    folder += ["--data.name", "folder", "--data.path", "pets", "--preprocessing.crop", "squash"]
    for run, seed in (("one", "0"), ("two", "1")):
        trained = vit.run(tmp_path, [*TINY, *folder, "--data.split-seed", seed, "--run-folder", run])
        assert trained.code == 0, trained.errors
    shutil.copytree(tmp_path / "two" / "model", tmp_path / "alone")
    for other, is_warned in (("alone", False), ("two", True)):
        finished = evaluate(vit, tmp_path, "one", "pets", "--baseline", other, "--output", f"beside {other}")
        assert finished.code == 0, finished.errors
        assert "pets test: 6 images" in finished.output
        assert ("The baseline was trained on some of these" in finished.output) == is_warned


def test_a_baseline_that_does_not_know_a_class_is_told_of(vit: Vit, pictures: Path) -> None:
    random_classifier(classes=("cat", "dog")).save(pictures / "few")
    finished = evaluate(vit, pictures, "new", "pets", "--baseline", "few", "--output", "beside")
    assert finished.code == 3, finished.output
    assert "few does not know '=cmd', 'cow'" in finished.errors
    assert not (pictures / "beside").exists()
