"""A model learns from a trained one what that one says of the same pixels, by the names of their classes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.classifiers import random_classifier
from tests.commands import Vit
from tests.training.recipes import everything, run_of, tiny
from tests.training.runs import IN_MEMORY, result
from tests.training.test_exact_resume import check_kills
from tests.training.test_processes import changed, run_together
from tests.weights.portable import portable
from torch import Tensor

from vision_transformers.classifier import Classifier
from vision_transformers.cli.main import main
from vision_transformers.data.batches import training_batches
from vision_transformers.errors import UsageFailure
from vision_transformers.model.vit import ViT
from vision_transformers.training.gradients import Gradients, gradients_of
from vision_transformers.training.objective import Distillation
from vision_transformers.training.recipe import Probe, Recipe, Teacher
from vision_transformers.training.run_folder import RunFolder, newest_run
from vision_transformers.training.state import initial_state
from vision_transformers.training.teacher import TrainedTeacher, load_teacher
from vision_transformers.training.train import train
from vision_transformers.weights.conversion import export_model
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

DIGITS = tuple("0123456789")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model for colour pictures of twice the digits' size, which knows some classes more."""
    random_classifier(("owl", *reversed(DIGITS), "cat")).save(tmp_path / "teacher")
    return tmp_path / "teacher"


def taught_by(source: Path, recipe: Recipe, **settings: float) -> Recipe:
    return replace(recipe, teacher=Teacher(str(source), **settings))


def test_classes_are_found_by_their_names() -> None:
    """Others that the teacher knows take no probability away."""
    classifier = random_classifier(("owl", "cat", "dog", "emu"))
    images = torch.randn(3, 3, 16, 16)
    expected, _ = classifier.logits_and_features(images)
    teacher = TrainedTeacher(classifier, ("emu", "cat", "owl"), classifier.preprocessing)
    torch.testing.assert_close(teacher(images, "float32"), expected[:, [3, 1, 0]], rtol=1e-4, atol=1e-4)


def test_who_says_what_the_teacher_says_has_nothing_to_learn(tmp_path: Path) -> None:
    run = run_of(tiny(), tmp_path)
    twin = initial_state(run.recipe, run.model_config, run.device).model
    Classifier(twin, run.describe_model(), "cpu").save(tmp_path / "twin")
    norms = {weight: first_norm(taught_by(tmp_path / "twin", tiny(), weight=weight)) for weight in (0.5, 1.0)}
    assert norms[1.0] < 1e-5
    assert norms[0.5] > 0.01


def first_norm(recipe: Recipe) -> float:
    """The norm of the first gradient."""
    run = run_of(recipe, Path("nowhere"))
    state = initial_state(run.recipe, run.model_config, run.device)
    (batch,) = training_batches(
        run.training_images, recipe.preprocessing, recipe.augmentation, run.order, 0, 1, run.device, 0
    )
    return float(gradients_of(run, state.model, run.objective())(batch, 0)[2])


def test_the_teacher_sees_the_pixels_that_its_student_sees(source: Path, tmp_path: Path) -> None:
    """Varied, erased and mixed, in every part of a batch; and it guesses without dropout."""
    seen: list[Tensor] = []
    by_teacher: list[Tensor] = []

    def student(images: Tensor) -> Tensor:
        seen.append(images)
        return state.model(images)

    def teacher(images: Tensor) -> Tensor:
        by_teacher.append(images)
        return objective.teacher(images)

    recipe = taught_by(source, everything())
    run = run_of(recipe, tmp_path)
    state = initial_state(run.recipe, run.model_config, run.device)
    (batch,) = training_batches(
        run.training_images, recipe.preprocessing, recipe.augmentation, run.order, 0, 1, run.device, 0
    )
    objective = run.objective()
    assert isinstance(objective, Distillation)
    spied = Distillation(objective.labels, teacher, 0.5, 1.0)
    Gradients(run, list(state.model.parameters()), student, spied)(batch, 0)
    assert len(seen) == len(by_teacher) == recipe.accumulation
    assert all(theirs is ours for theirs, ours in zip(by_teacher, seen, strict=True))
    assert run.teacher is not None
    assert not any(module.training for module in run.teacher.model.modules())
    assert not torch.equal(seen[0], batch.images.chunk(recipe.accumulation)[0]), "they are mixed"


def test_its_weights_stay_as_they_are_and_are_no_part_of_the_student(source: Path, tmp_path: Path) -> None:
    """With a probe, class weights and bfloat16, too."""
    before = (source / "model.safetensors").read_bytes()
    recipe = everything(steps=4, probe=Probe(0.5), precision="bfloat16")
    taught = train(taught_by(source, recipe, weight=0.9, temperature=3.0), tmp_path / "taught")
    alone = train(recipe, tmp_path / "alone")
    assert (source / "model.safetensors").read_bytes() == before
    assert result(taught.folder)[0] != result(alone.folder)[0]
    assert len(result(taught.folder)[0]) == len(result(alone.folder)[0])


def test_kills_do_not_change_what_is_learned_from_a_teacher(vit: Vit, source: Path, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "30", "--teacher.source", source.name, "--teacher.temperature", "2"]
    check_kills(vit, tmp_path, begin, kills=1)


def test_two_processes_learn_from_a_teacher_what_one_does(vit: Vit, source: Path, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "6", "--teacher.source", source.name, "--run-folder"]
    together = run_together(vit, tmp_path, [*changed(begin[:-1], accumulation="1"), "--run-folder", "two"])
    assert [each.code for each in together] == [0, 0], together[0].errors + together[1].errors
    alone = vit.run(tmp_path, [*begin, "one"])
    assert alone.code == 0, alone.errors
    assert result(tmp_path / "two")[0] == result(tmp_path / "one")[0]


@pytest.fixture
def stopped(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, below the working folder, that was killed before it wrote its model folder."""
    monkeypatch.chdir(tmp_path)
    train(taught_by(Path(source.name), tiny(checkpoint_steps=1)), "run")
    shutil.copytree("run", "whole")
    shutil.rmtree("run/model")
    shutil.rmtree("run/checkpoints/step-00000002")
    return Path("run")


def test_a_teacher_that_has_changed_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, or what else decides what it says; how it was made decides nothing."""
    config = json.loads(Path("teacher/config.json").read_text())
    changes: dict[str, Any] = {"preprocessing": config["preprocessing"] | {"mean": [0.1, 0.2, 0.3]}}
    Path("teacher/config.json").write_text(json.dumps(config | changes))
    assert main(["train", "--resume", "run"]) == 1
    message = capsys.readouterr().err
    recorded = RunFolder(stopped).record().environments[0].teacher
    assert f"teacher: {recorded} before" in message
    Path("teacher/config.json").write_text(json.dumps(config | {"training": {"by": "hand"}}))
    assert main(["train", "--resume", "run"]) == 0, capsys.readouterr().err
    assert result(stopped) == result(Path("whole"))


def test_a_teacher_of_another_library_is_to_be_converted_first(tmp_path: Path) -> None:
    """And not to be given to --init, which is another option."""
    export_model(tmp_path / "theirs", portable(), FORMATS["huggingface"], Report())
    (tmp_path / "w.pth").write_bytes(b"")
    for source, format in ((tmp_path / "theirs", "huggingface"), (tmp_path / "w.pth", "FORMAT")):
        with pytest.raises(UsageFailure, match=f"`vit convert {source} NEW --from {format} --to") as failure:
            load_teacher(taught_by(source, tiny()), ("0", "1"))
        assert "a teacher is a run or a model folder" in str(failure.value)
        assert "--init" not in str(failure.value)


def test_a_teacher_may_have_moved(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("teacher").rename("moved")
    assert main(["train", "--resume", "run"]) == 2
    message = capsys.readouterr().err
    assert f"there is no model {Path('teacher').resolve()}" in message
    assert "--teacher.source" in message
    assert main(["train", "--resume", "run", "--teacher.source", "moved"]) == 0, capsys.readouterr().err
    assert result(stopped) == result(Path("whole"))
    assert RunFolder(stopped).record().recipe.teacher.source == str(Path("moved").resolve())


@pytest.mark.usefixtures("stopped")
def test_a_run_neither_gets_a_teacher_later_nor_another_share_of_it(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", "run", "--teacher.weight", "0.6"]) == 2
    assert "teacher.weight was 0.5 (now 0.6)" in capsys.readouterr().err
    train(tiny(), "alone")
    shutil.rmtree("alone/model")
    assert main(["train", "--resume", "alone", "--teacher.source", str(source)]) == 2
    assert "teacher.source was None (now " in capsys.readouterr().err


def test_auto_does_not_take_another_teachers_run_for_this_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(taught_by(source, tiny())).folder
    assert newest_run(taught_by(Path("teacher"), tiny())) == RunFolder(run)
    assert newest_run(taught_by(Path("another"), tiny())) is None
    assert newest_run(tiny()) is None


def save_headless(folder: Path) -> None:
    classifier = random_classifier()
    config = replace(classifier.description.model, number_of_classes=0)
    description = replace(classifier.description, model=config, classes=())
    Classifier(ViT.from_config(config), description, "cpu").save(folder)


def code_of(arguments: list[str]) -> int:
    """The exit code; tyro ends the process itself where a value cannot be."""
    try:
        code: str | int | None = main(arguments)
    except SystemExit as end:
        code = end.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--teacher.source", "teacher", "--teacher.weight", "1.5"],
            "teacher.weight is 1.5: expected 0 to 1",
        ),
        (["--teacher.source", "teacher", "--teacher.weight", "nan"], "teacher.weight is nan"),
        (
            ["--teacher.source", "teacher", "--teacher.temperature", "0"],
            "teacher.temperature is 0.0: expected",
        ),
        (["--teacher.weight", "0.9"], "need a teacher: add --teacher.source RUN"),
        (["--teacher.source", "missing"], "there is no model missing"),
        (["--teacher.source", "headless"], "the teacher headless has no classification head"),
        (["--teacher.source", "animals"], "the teacher animals does not know '0', '1', '2'"),
    ],
)
@pytest.mark.usefixtures("source")
def test_what_cannot_teach_is_told_before_anything_is_made(
    options: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_headless(tmp_path / "headless")
    random_classifier().save(tmp_path / "animals")
    assert code_of(["train", "digits", "--steps", "2", *options, "--run-folder", "run"]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


def test_a_teacher_that_is_not_there_is_told_from_python(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match=r"there is no model .*--teacher\.source"):
        train(taught_by(tmp_path / "nothing", tiny()), tmp_path / "run")
