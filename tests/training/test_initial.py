"""A run that begins with somebody's weights has them, resumes to the same bytes, and needs them only once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.commands import Vit
from tests.training.recipes import tiny
from tests.training.runs import make_images, result

from vision_transformers.errors import UsageFailure
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.run_folder import changed_fields
from vision_transformers.training.train import resume, train
from vision_transformers.weights.adaptation import for_images
from vision_transformers.weights.conversion import export_model, read_native, write_native
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.report import Report

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits, with a class token and dropout."""
    folder = tmp_path_factory.mktemp("source") / "run"
    train(tiny(steps=60), folder)
    return folder


class StopsAtOnce(Silent):
    """Interrupts before the first step's checkpoint."""

    def stepped(self, report: StepReport) -> None:  # noqa: ARG002
        raise KeyboardInterrupt


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_native(folder).weights


def begun(recipe_source: Path, run: Path, **changes: object) -> dict[str, torch.Tensor]:
    """The weights of a run's first checkpoint."""
    recipe = replace(tiny(**changes), init=str(recipe_source))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run, StopsAtOnce())
    return weights(run / "checkpoints" / "step-00000000" / "model")


def of_other_classes(source: Path, folder: Path, but: str | None = None) -> Path:
    """The same weights, whose classes are called otherwise; if one is given, that one alone."""
    model = read_native(source / "model")
    classes = tuple(
        name if but not in (None, name) else f"digit {name}" for name in model.description.classes
    )
    write_native(folder / "others", replace(model, description=replace(model.description, classes=classes)))
    return folder / "others"


def test_it_begins_with_all_weights_and_of_other_classes_with_a_new_head(
    source: Path, tmp_path: Path
) -> None:
    """Who goes on with a classifier of the same classes begins with what it knows, not with guessing."""
    theirs = weights(source / "model")
    kept, new = (
        begun(each, tmp_path / each.name / "begun") for each in (source, of_other_classes(source, tmp_path))
    )
    assert kept.keys() == new.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(kept[name], value), name
        assert torch.equal(new[name], value) == (not name.startswith("head.classifier")), name


def test_the_weights_decide_model_and_preprocessing(source: Path, tmp_path: Path) -> None:
    """The recipe's own sizes do not matter; what has no weights stays the recipe's."""
    other = replace(tiny().model, model_dimension=32, number_of_layers=3, dropout=0.25)
    begun(source, tmp_path / "run", model=other, average_decay=0.9)
    recorded = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["model"]
    assert (recorded["model_dimension"], recorded["number_of_layers"], recorded["dropout"]) == (16, 2, 0.25)


def test_a_moving_average_begins_there_too(source: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    ours = begun(source, tmp_path / "run", average_decay=0.9)
    average = load_file(tmp_path / "run" / "checkpoints" / "step-00000000" / "average.safetensors")
    assert all(torch.equal(average[name], value) for name, value in ours.items())


def test_what_was_learned_helps(source: Path, tmp_path: Path) -> None:
    """On the same digits: a few steps do more than from scratch."""
    few = tiny(steps=6)
    again = train(replace(few, init=str(source)), tmp_path / "again").metrics["test_accuracy"]
    scratch = train(few, tmp_path / "scratch").metrics["test_accuracy"]
    assert again > scratch + 0.1


def test_it_resumes_to_the_same_bytes_without_the_source(source: Path, tmp_path: Path) -> None:
    recipe = tiny(steps=6, average_decay=0.9)
    shutil.copytree(source / "model", tmp_path / "weights")
    other = replace(recipe.model, model_dimension=32, number_of_layers=3)
    recipe = replace(recipe, init=str(tmp_path / "weights"), model=other)
    train(recipe, tmp_path / "whole")
    for name in ("stopped", "stopped and asked for again"):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / name, StopsAtOnce())
    shutil.rmtree(tmp_path / "weights")
    resume(tmp_path / "stopped")
    resume(tmp_path / "stopped and asked for again", recipe)
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")
    assert result(tmp_path / "stopped and asked for again") == result(tmp_path / "whole")


def test_a_death_at_any_early_moment_changes_nothing(vit: Vit, source: Path, tmp_path: Path) -> None:
    command = ["train", "digits", "--init", str(source), "--steps", "4", "--threads", "1", "--device", "cpu"]
    command += ["--optimizer.layer-decay", "0.7", "--frozen-layers", "1", "--average-decay", "0.9"]
    assert vit.run(tmp_path, [*command, "--run-folder", "whole"]).code == 0
    for number in (8, 12, 16, 20, 26):
        run = tmp_path / f"killed-{number}"
        vit.run(tmp_path, [*command, "--run-folder", run.name], die_at=number)
        again = ["train", "--resume", run.name] if (run / "recipe.json").exists() else command
        again = again if again != command else [*command, "--run-folder", run.name]
        finished = vit.run(tmp_path, again)
        assert finished.code == 0, finished.errors
        assert result(run) == result(tmp_path / "whole")


def test_somebody_elses_files_are_weights_to_begin_with(source: Path, tmp_path: Path) -> None:
    export_model(tmp_path / "timm", read_native(source / "model"), TIMM, Report())
    recipe = replace(tiny(steps=2), init=str(tmp_path / "timm"), init_format="timm")
    train(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_files_of_another_library_are_named_before_it_looks_as_if_training_begins(
    vit: Vit, tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_vit", num_classes=3)
    timm.models.save_for_hf(model, tmp_path / "w_timm", safe_serialization=False)
    make_images(tmp_path / "images", classes=2, count=4)
    finished = vit.run(
        tmp_path, ["train", "finetune", "--data.path", "images", "--init", "w_timm", "--run-folder", "run"]
    )
    assert (finished.code, finished.output) == (2, "")
    assert "looks like timm. Another library's files are read with" in finished.errors
    assert "--init-format timm" in finished.errors


@pytest.mark.parametrize(
    "wrong", [["--init", "nothing"], ["--device", "cuda:99"], ["--run-folder", "images"]]
)
def test_what_cannot_be_is_told_before_it_looks_as_if_training_begins(
    vit: Vit, source: Path, tmp_path: Path, wrong: list[str]
) -> None:
    make_images(tmp_path / "images", classes=2, count=4)
    command = ["train", "finetune", "--data.path", "images", "--init", str(source), *wrong]
    finished = vit.run(tmp_path, command)
    assert (finished.code, finished.output) == (2, ""), finished.errors


def test_a_person_hears_whether_the_head_is_new(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        begun(source, tmp_path / "of digits")
        begun(of_other_classes(source, tmp_path), tmp_path / "of others")
        begun(of_other_classes(source, tmp_path, but="7"), tmp_path / "of one other")
    said = [record.getMessage() for record in caplog.records if "head" in record.getMessage()]
    assert said == [
        "the head is kept: the source knows all 10 classes by the same names",
        "the head is new, for 10 classes",
        "the head is new, for 10 classes: the source does not know '7'",
    ]


def test_pictures_of_a_folder_are_learned_from_weights_of_digits(
    vit: Vit, source: Path, tmp_path: Path
) -> None:
    make_images(tmp_path / "images", count=20)
    command = ["train", "finetune", "--data.path", "images", "--init", str(source), "--epochs", "2"]
    command += ["--batch-size", "8", "--threads", "1", "--data.workers", "0", "--run-folder", "run"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    chosen = [line.split()[1] for line in finished.output.splitlines() if line.startswith("chosen")]
    assert chosen == ["--frozen", "--optimizer.learning-rate"], finished.output
    description = read_native(tmp_path / "run" / "model").description
    assert description.classes == ("class-0", "class-1", "class-2")
    assert description.preprocessing.size == (8, 8)


def test_the_same_source_is_the_same_recipe(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vision_transformers.training.initial import settle_recipe

    monkeypatch.chdir(source.parent)
    asked = replace(tiny(), init=source.name)
    recorded = settle_recipe(asked)
    assert changed_fields(recorded, asked) == []
    assert changed_fields(recorded, replace(asked, init="other")) != []
    dropping = replace(asked, model=replace(asked.model, dropout=0.5))
    assert changed_fields(recorded, dropping) == [("model.dropout", 0.0, 0.5)]


def test_a_colon_in_a_path_makes_it_no_place_on_the_hub(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed from elsewhere has to find it."""
    from vision_transformers.training.initial import settle_recipe

    shutil.copytree(source / "model", tmp_path / "digits:small")
    monkeypatch.chdir(tmp_path)
    assert settle_recipe(replace(tiny(), init="digits:small")).init == str(tmp_path / "digits:small")


def test_missing_weights_are_told_before_anything_is_made(vit: Vit, tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="there is no model"):
        train(replace(tiny(), init=str(tmp_path / "nothing")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    finished = vit.run(tmp_path, ["train", "finetune", "--data.path", "images"])
    assert finished.code == 2
    assert "say which weights to begin with" in finished.errors


def test_positions_for_larger_pictures_than_those_that_come_are_resized(source: Path, tmp_path: Path) -> None:
    """As DINOv2's, which are made for 518 pixels and get 224."""
    larger = for_images(read_native(source / "model"), Report(), (16, 16))
    preprocessing = replace(larger.description.preprocessing, size=(8, 8))
    write_native(
        tmp_path / "larger",
        replace(larger, description=replace(larger.description, preprocessing=preprocessing)),
    )
    begun(tmp_path / "larger", tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert recorded["model"]["max_image_shape"] == recorded["preprocessing"]["size"] == [8, 8]
