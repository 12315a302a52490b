"""A run leaves what it promises: one honest test, the weights that were chosen, and something to look at."""

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tests.training.recipes import everything, tiny
from tests.training.runs import make_images

from vision_transformers.data.batches import evaluation_batches
from vision_transformers.data.images import Images
from vision_transformers.data.loading import load_data
from vision_transformers.data.source import DataSource
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.evaluation.metrics import evaluate
from vision_transformers.report.metrics import Row, read_metrics
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.recipe import Probe
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.train import resume, train
from vision_transformers.weights.model_folder import read_model

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a half epochs, of which each is validated."""
    return train(everything(steps=25), tmp_path_factory.mktemp("runs") / "run").folder


def rows_with(run: Path, key: str) -> list[Row]:
    return [row for row in read_metrics(run / "metrics.jsonl") if key in row]


def judged(run: Path, part: str) -> dict[str, float]:
    """What the finished model scores, computed anew."""
    recipe = everything()
    data = load_data(recipe.data, recipe.preprocessing)
    images: Images | None = getattr(data, part)
    assert images is not None
    model, description = read_model(run / "model")
    batches = evaluation_batches(images, description.preprocessing, 50, torch.device("cpu"), 0)
    return evaluate(model, batches, "float32").means(part)


def test_the_run_folder_has_everything(run: Path) -> None:
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "recipe.json",
        "metrics.jsonl",
        "timing.jsonl",
        "metrics.csv",
        "plots/curves.png",
        "plots/first_batch.png",
        "checkpoints/LAST",
        "model/model.safetensors",
        "model/config.json",
    }
    assert len([name for name in files if name.startswith("events.out.tfevents.")]) == 1
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_how_long_it_takes_is_foreseen_once_the_first_steps_have_warmed_up(tmp_path: Path) -> None:
    """After the first one alone, a run of a minute is told to take ten."""
    left: list[float | None] = []

    class Watch(Silent):
        def stepped(self, report: StepReport) -> None:
            left.append(report.seconds_left)

    train(tiny(steps=6), tmp_path / "run", Watch())
    assert left[:3] == [None] * 3
    assert all(seconds is not None and seconds >= 0 for seconds in left[3:])
    assert left[-1] == 0


def test_no_step_has_two_rows_and_every_row_is_complete(run: Path) -> None:
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [3, 6, 9, 10, 12, 15, 18, 20, 21, 24, 25]
    for row in rows:
        assert row["epoch"] == row["step"] / 10
        assert {"train_loss", "train_accuracy", "learning_rate", "gradient_norm"} <= row.keys()
        assert not {"seconds", "images_per_second"} & row.keys()
        assert 0 <= row["train_accuracy"] <= 1
    assert [row["step"] for row in rows_with(run, "validation_accuracy")] == [10, 20, 25]


def test_the_clock_lies_in_a_file_of_its_own(run: Path) -> None:
    timing = read_metrics(run / "timing.jsonl")
    assert [row["step"] for row in timing] == [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert all(row["images_per_second"] > 0 and row["memory_mebibytes"] > 0 for row in timing)


def test_a_run_folder_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert train(tiny(steps=1), "~/runs/a").folder == tmp_path / "home" / "runs" / "a"
    assert resume("~/runs/a").metrics
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_test_images_are_looked_at_once(run: Path) -> None:
    assert [row["step"] for row in rows_with(run, "test_accuracy")] == [25]


def test_the_test_images_are_looked_at_with_every_validation_where_that_is_asked_for(tmp_path: Path) -> None:
    recipe = everything(steps=25, test="validation", keep="last")
    folder = train(recipe, tmp_path / "run").folder
    assert [row["step"] for row in rows_with(folder, "test_accuracy")] == [10, 20, 25]


def test_the_model_folder_holds_the_best_weights_and_the_test_is_of_those(run: Path) -> None:
    best = max(row["validation_accuracy"] for row in rows_with(run, "validation_accuracy"))
    assert judged(run, "validation")["validation_accuracy"] == pytest.approx(best)
    (row,) = rows_with(run, "test_accuracy")
    assert {name: row[name] for name in ("test_loss", "test_accuracy")} == pytest.approx(judged(run, "test"))


def test_the_last_weights_are_the_moving_average(tmp_path: Path) -> None:
    folder = train(everything(steps=12, keep="last", checkpoint_steps=12), tmp_path / "run").folder
    average = folder / "checkpoints" / "step-00000012" / "average.safetensors"
    assert (folder / "model" / "model.safetensors").read_bytes() == average.read_bytes()


def test_metrics_as_a_table(run: Path) -> None:
    with open(run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = read_metrics(run / "metrics.jsonl")
    assert [float(line["train_loss"]) for line in table] == [row["train_loss"] for row in rows]
    assert table[0]["test_accuracy"] == ""


def test_tensorboard_shows_curves_a_picture_and_hyperparameters(run: Path) -> None:
    (events,) = run.glob("events.out.tfevents.*")
    tags = {value.tag for event in EventFileLoader(str(events)).Load() for value in event.summary.value}
    assert tags >= {
        "train/loss",
        "train/accuracy",
        "validation/loss",
        "validation/accuracy",
        "test/accuracy",
        "learning_rate",
        "gradient_norm",
        "images_per_second",
        "first_batch",
        "_hparams_/session_start_info",
    }


def test_the_model_folder_says_how_it_was_made(run: Path) -> None:
    description = json.loads((run / "model" / "config.json").read_text())
    assert description["classes"] == [str(digit) for digit in range(10)]
    assert description["training"]["recipe"] == "tiny"
    rows = rows_with(run, "validation_accuracy")
    best = max(rows, key=lambda row: row["validation_accuracy"])
    kept = {name: best[name] for name in ("validation_accuracy", "validation_loss")}
    assert description["training"]["metrics"] == rows[-1] | kept


def with_value(config: Any, name: str, value: object) -> Any:
    """As in a program whose types nobody checks; these tests check them."""
    first, _, rest = name.partition(".")
    changed = copy.copy(config)
    object.__setattr__(changed, first, with_value(getattr(config, first), rest, value) if rest else value)
    return changed


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keep", "Best", "keep is 'Best': did you mean 'best'"),
        ("optimizer.name", "AdamW", "optimizer.name is 'AdamW': did you mean 'adamw'"),
        ("data.name", "cifar", "data.name is 'cifar': did you mean 'cifar10'"),
        ("steps", 2.5, "steps is 2.5: expected int"),
    ],
)
def test_what_no_recipe_may_say_is_told_before_anything_is_written(
    name: str, value: object, message: str, tmp_path: Path
) -> None:
    """Else it would be something else in silence, and no such run could be resumed."""
    with pytest.raises(UsageFailure, match=message):
        train(with_value(tiny(), name, value), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("fraction", "left_out"), [(0.1, "the head alone"), (0.9, "the rest")])
def test_a_beginning_that_has_no_step_or_all_of_them_is_refused(
    fraction: float, left_out: str, tmp_path: Path
) -> None:
    recipe = tiny(steps=4, probe=Probe(fraction=fraction))
    with pytest.raises(UsageFailure, match=f"of 4 steps it leaves none to {left_out}. Give"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_and_numbers_of_numpy_are_those_of_python(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    data = DataSource(name="folder", path="elsewhere", workers=0)
    model = replace(tiny().model, number_of_classes=0)
    recipe = with_value(tiny(data=data, model=model, batch_size=8), "data.path", tmp_path / "images")
    recipe = with_value(with_value(recipe, "seed", np.int64(3)), "label_smoothing", np.float32(0.5))
    run = train(recipe, tmp_path / "run").folder
    found = RunFolder(run).record().recipe
    assert (found.seed, found.label_smoothing) == (3, 0.5)
    assert found.data.path == str(tmp_path / "images")


def test_two_runs_of_one_recipe_are_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    one, same, other = (
        (train(everything(steps=4, seed=seed), tmp_path / name).folder / "model" / "model.safetensors")
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()


def test_a_batch_is_never_larger_than_the_data_set(tmp_path: Path) -> None:
    """The digits have 1,295 images to train on."""
    result = train(tiny(batch_size=5_000), tmp_path / "run")
    assert result.metrics["epoch"] == 2
    with pytest.raises(DataFailure, match=r"accumulation 8 does not divide them: use --accumulation 1"):
        train(tiny(batch_size=5_000, accumulation=8), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_is_left_of_an_epoch_is_dropped(tmp_path: Path) -> None:
    """1,295 images are 12 batches of 100; every step of a run has the same size."""
    result = train(tiny(batch_size=100, steps=None, epochs=2), tmp_path / "run")
    assert (result.metrics["step"], result.metrics["epoch"]) == (24, 2.0)


def test_the_best_of_nothing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    images = tmp_path / "images"
    make_images(images)
    recipe = tiny(keep="best")
    data = replace(recipe.data, name="folder", path=str(images), validation_fraction=0.0)
    model = replace(recipe.model, number_of_classes=0)
    with pytest.raises(UsageFailure, match="keep is 'best', but there are no validation images"):
        train(replace(recipe, data=data, model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_number_of_classes_that_the_data_has_not_is_refused(tmp_path: Path) -> None:
    recipe = tiny()
    wrong = replace(recipe, model=replace(recipe.model, number_of_classes=7))
    with pytest.raises(
        UsageFailure, match=r"is 7, but the data has 10 classes: give --model.number-of-classes 0"
    ):
        train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
