"""`vit evaluate` says what the run said of itself, and what `vit predict` says of each picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.classifiers import random_classifier
from tests.commands import Finished, Vit
from tests.photographs import noise, save_photographs

from vision_transformers.classifier import load
from vision_transformers.cli.subject import Split, Subject
from vision_transformers.data.images import ImageFiles, ImagesInMemory
from vision_transformers.data.labelled import Labelled, in_order_of, load_labelled
from vision_transformers.data.source import DataSource
from vision_transformers.evaluation.judgement import judge
from vision_transformers.recipes.table import find_recipe
from vision_transformers.training.record import FORMAT_VERSION, Record, Versions

TINY = [
    *("--model.patch-shape", "4", "4", "--model.model-dimension", "16", "--model.number-of-layers", "1"),
    *("--model.number-of-heads", "2", "--model.hidden-dimension", "16", "--threads", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def run(vit: Vit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits."""
    folder = tmp_path_factory.mktemp("runs")
    trained = vit.run(folder, ["train", "digits", *TINY, "--epochs", "3", "--run-folder", "run"])
    assert trained.code == 0, trained.errors
    return folder / "run"


def evaluate(vit: Vit, folder: Path, *arguments: str) -> Finished:
    return vit.run(folder, ["evaluate", *arguments, "--device", "cpu", "--workers", "0"])


def metrics(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "metrics.json").read_text())
    return content


def last_row(run: Path) -> dict[str, float]:
    row: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row


@pytest.mark.parametrize("split", ["test", "validation"])
def test_it_measures_what_the_run_measured(vit: Vit, run: Path, split: str) -> None:
    finished = evaluate(vit, run.parent, "run", "digits", "--split", split)
    assert finished.code == 0, finished.errors
    found, expected = metrics(run / "evaluation" / f"digits-{split}"), last_row(run)
    assert found["top_1"]["accuracy"] == pytest.approx(expected[f"{split}_accuracy"])
    assert found["loss"] == pytest.approx(expected[f"{split}_loss"], abs=1e-5)
    assert f"top-1          {expected[f'{split}_accuracy']:.2%}" in finished.output
    assert (run / "evaluation" / f"digits-{split}" / "index.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_has_a_temperature_that_calibrates_its_validation_images(vit: Vit, run: Path) -> None:
    temperature = json.loads((run / "model" / "config.json").read_text())["temperature"]
    assert 0.05 < temperature < 20
    evaluate(vit, run.parent, "run/model", "digits", "--split", "validation", "--output", "elsewhere")
    calibration = metrics(run.parent / "elsewhere")["calibration"]
    assert calibration["temperature"] == temperature
    assert calibration["error_after"] < calibration["error"]


@pytest.mark.usefixtures("undrawn")
def test_images_of_the_training_part_are_warned_of(vit: Vit, run: Path) -> None:
    finished = evaluate(vit, run.parent, "run", "digits", "--split", "all")
    assert "trained on some of these" in finished.output
    assert metrics(run / "evaluation" / "digits-all")["samples"] == 1797


@pytest.mark.usefixtures("undrawn")
def test_probes_judge_the_features(vit: Vit, run: Path) -> None:
    finished = evaluate(vit, run.parent, "run", "digits", "--probe", "knn", "linear")
    assert finished.code == 0, finished.errors
    probe = metrics(run / "evaluation" / "digits-test")["probe"]
    assert set(probe) == {"knn", "linear"}
    for accuracies in probe.values():
        assert set(accuracies) == {"class", "mean", "class-mean"}
        assert min(accuracies.values()) > 0.5


@pytest.mark.usefixtures("undrawn")
@pytest.mark.usefixtures("one_thread")
def test_it_agrees_with_predict_to_the_last_image_and_the_last_bit(vit: Vit, tmp_path: Path) -> None:
    classifier = random_classifier(temperature=0.8)
    classifier.save(tmp_path / "model")
    classes = ("owl", "cat", "dog")
    for place, name in enumerate(classes):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(15):
            pixels = noise(100 * place + number, 30, 40)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number:02}.jpg")
    assert evaluate(vit, tmp_path, "model", "pictures").code == 0
    found = metrics(tmp_path / "evaluation-model-pictures-all")
    predicted = vit.run(tmp_path, ["predict", "model", "pictures", "--format", "jsonl", "--device", "cpu"])
    rows = [json.loads(line) for line in predicted.output.splitlines()]
    names = found["classes"]
    confusion = [[0] * len(names) for _ in names]
    for row in rows:
        confusion[names.index(Path(row["path"]).parent.name)][row["index"]] += 1
    assert found["confusion"] == confusion
    labelled = load_labelled(str(tmp_path / "pictures"), classifier.preprocessing, None, None)
    images = in_order_of(labelled, labelled.split("all"), classifier.classes)
    judgement = judge(load(tmp_path / "model", device="cpu"), images)
    confidence = judgement.probabilities.max(dim=1).values.tolist()
    assert confidence == [row["probability"] for row in rows]
    page = (tmp_path / "evaluation-model-pictures-all" / "index.html").read_text()
    assert "top-5 accuracy" in page


@pytest.mark.usefixtures("undrawn")
def test_a_second_data_set_or_split_leaves_the_first_evaluation_alone(vit: Vit, tmp_path: Path) -> None:
    random_classifier().save(tmp_path / "model")
    for part in ("a/cat", "b/test/cat", "b/val/cat"):
        save_photographs(tmp_path / part, 2)
    for arguments in (["a"], ["b"], ["b", "--split", "validation"]):
        assert evaluate(vit, tmp_path, "model", *arguments).code == 0
    evaluated = [metrics(folder) for folder in sorted(tmp_path.glob("evaluation-model-*"))]
    assert [(one["data"], one["split"]) for one in evaluated] == [
        ("a", "all"),
        ("b", "test"),
        ("b", "validation"),
    ]


@pytest.mark.usefixtures("undrawn")
def test_another_model_or_data_set_of_the_same_name_leaves_the_first_evaluation_alone(
    vit: Vit, tmp_path: Path
) -> None:
    for folder in ("first", "second"):
        random_classifier().save(tmp_path / folder / "model")
        save_photographs(tmp_path / folder / "pets" / "cat", 2)
    assert evaluate(vit, tmp_path, "first/model", "first/pets").code == 0
    assert evaluate(vit, tmp_path, "first/model", str(tmp_path / "first/pets")).code == 0  # it again
    for model, data in (("second/model", "first/pets"), ("first/model", "second/pets")):
        finished = evaluate(vit, tmp_path, model, data)
        assert finished.code == 2
        assert f"{tmp_path}/first/pets and {tmp_path}/first/model" in finished.errors
        assert evaluate(vit, tmp_path, model, data, "--output", "named").code == 0


@pytest.mark.usefixtures("undrawn")
def test_a_folder_may_be_where_one_stands(vit: Vit, tmp_path: Path) -> None:
    random_classifier().save(tmp_path / "model")
    save_photographs(tmp_path / "pets" / "cat", 2)
    assert evaluate(vit, tmp_path / "pets", "../model", ".").code == 0
    assert metrics(tmp_path / "pets" / "evaluation-model-pets-all")["data"] == "pets"


@pytest.mark.usefixtures("undrawn")
def test_a_probe_of_one_class_is_told_before_anything_is_judged(vit: Vit, tmp_path: Path) -> None:
    random_classifier().save(tmp_path / "model")
    save_photographs(tmp_path / "pets" / "train" / "cat", 3)
    for name in ("cat", "dog"):
        save_photographs(tmp_path / "pets" / "test" / name, 3)
    finished = evaluate(vit, tmp_path, "model", "pets", "--probe", "knn", "linear")
    assert finished.code == 2
    assert "the split train has images of 'cat' alone" in finished.errors
    assert not list(tmp_path.glob("evaluation-*"))
    assert evaluate(vit, tmp_path, "model", "pets", "--probe", "knn").code == 0


@pytest.mark.usefixtures("undrawn")
def test_what_makes_no_sense_is_told_and_nothing_is_written(vit: Vit, run: Path, tmp_path: Path) -> None:
    random_classifier().save(tmp_path / "model")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    (tmp_path / "broken" / "cat").mkdir(parents=True)
    (tmp_path / "broken" / "cat" / "1.jpg").write_bytes(b"no picture")
    cases = [
        (["model", "digits"], 3, "model does not know '0'"),
        (["nothing", "digits"], 2, "there is no model"),
        (["model", "nowhere"], 2, "there is no folder nowhere"),
        (["model", "broken"], 3, "1.jpg"),
        ([str(run), "digits", "--output", "taken"], 2, "holds other files"),
        ([str(run), "digits", "--batch-size", "0"], 2, "--batch-size is 0"),
        ([str(run), "digits", "--output", "/proc/nobody/writes"], 2, "choose another folder"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, code, message in cases:
        finished = evaluate(vit, tmp_path, *arguments)
        assert (finished.code, message in finished.errors) == (code, True), finished.errors
        assert "Traceback" not in finished.errors
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken" / "letter.txt").read_text() == "dear"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "content", ['{"accuracy": 0.9}', '{"format_version": 1, "places": "here"}', '{"a":1']
)
def test_what_is_no_whole_evaluation_is_left_as_it_is(vit: Vit, tmp_path: Path, content: str) -> None:
    """Others write a metrics.json too, beside an index.html; and of a damaged one, a way out is named."""
    random_classifier().save(tmp_path / "model")
    save_photographs(tmp_path / "pets" / "cat", 2)
    usual = tmp_path / "evaluation-model-pets-all"
    theirs = {"metrics.json": content, "index.html": "mine", "curves.png": "mine", "predictions.csv": "mine"}
    for folder, named in ((usual, []), (tmp_path / "mine", ["--output", "mine"])):
        folder.mkdir()
        for name, text in theirs.items():
            (folder / name).write_text(text)
        finished = evaluate(vit, tmp_path, "model", "pets", *named)
        assert finished.code == 2, finished.errors
        assert f"{folder.name} holds other files and no whole evaluation" in finished.errors
        assert "choose another --output, or move them away" in finished.errors
        assert {path.name: path.read_text() for path in folder.iterdir()} == theirs
    usual.rename(tmp_path / "away")
    for _ in ("first", "again"):
        assert evaluate(vit, tmp_path, "model", "pets").code == 0


ON_PETS = [
    *("train", "folder", "--data.path", "pets", "--preprocessing.crop", "squash", "--steps", "1", *TINY),
    *("--preprocessing.size", "32", "32", "--model.max-image-shape", "32", "32", "--batch-size", "4"),
    *("--run-folder", "run"),
]


@pytest.mark.usefixtures("undrawn")
def test_training_images_by_another_name_and_classes_without_images_are_warned_of(
    vit: Vit, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog", "frog"):
            save_photographs(tmp_path / "pets" / part / name, 4)
    trained = vit.run(tmp_path, [*ON_PETS, "--data.validation-fraction", "0.25"])
    assert trained.code == 0, trained.errors
    flatters = "the numbers flatter it"
    assert flatters in evaluate(vit, tmp_path, "run", "pets/train", "--output", "a").output
    assert flatters in metrics(tmp_path / "a")["warning"]
    for images in ("pets", "pets/test"):
        assert "warning" not in evaluate(vit, tmp_path, "run", images, "--output", "b").output
    (tmp_path / "pets" / "test" / "frog").rename(tmp_path / "frog")
    found = evaluate(vit, tmp_path, "run", "pets/test", "--output", "c")
    assert "1 of 3 classes have no images here: frog." in found.output, found


@pytest.mark.usefixtures("undrawn")
def test_a_picture_more_makes_no_held_out_ones_of_those_that_were_learned_from(
    vit: Vit, tmp_path: Path
) -> None:
    """The folder is another one than the run's, and still holds what the run learned from."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            save_photographs(tmp_path / "pets" / part / name, 4)
    trained = vit.run(tmp_path, ON_PETS)
    assert trained.code == 0, trained.errors
    save_photographs(tmp_path / "pets" / "val" / "cat", 5)
    found = evaluate(vit, tmp_path, "run", "pets")
    assert found.code == 0, found.errors
    assert "pets validation: 9 images" in found.output
    assert "warning" not in found.output
    for split in ("train", "all"):
        assert "the numbers flatter it" in evaluate(vit, tmp_path, "run", "pets", "--split", split).output


@pytest.mark.usefixtures("undrawn")
def test_what_a_run_began_with_has_learned_from_is_warned_of(vit: Vit, tmp_path: Path) -> None:
    """Pictures that were added make others the test; the model knows those by heart."""
    for name in ("cat", "dog", "frog"):
        save_photographs(tmp_path / "pets" / name, 8)
    assert vit.run(tmp_path, ON_PETS).code == 0
    assert "warning" not in evaluate(vit, tmp_path, "run", "pets").output
    save_photographs(tmp_path / "pets" / "cat", 10)
    further = ["train", "finetune", "--data.path", "pets", "--init", "run", "--steps", "1", "--threads", "1"]
    further += ["--batch-size", "4", "--run-folder", "further"]
    finished = vit.run(tmp_path, further)
    assert finished.code == 0, finished.errors
    assert "may have learned from some by which this run's test accuracy" in finished.errors
    found = evaluate(vit, tmp_path, "further", "pets")
    assert "the numbers flatter it" in found.output, found.errors


@pytest.mark.usefixtures("undrawn")
def test_two_classes_of_one_name_are_not_judged(vit: Vit, tmp_path: Path) -> None:
    """Whichever is meant, the other would count as wrong."""
    random_classifier(classes=("cat", "dog", "dog")).save(tmp_path / "model")
    for name in ("cat", "dog"):
        save_photographs(tmp_path / "pets" / name, 2)
    finished = evaluate(vit, tmp_path, "model", "pets")
    assert (finished.code, finished.output) == (3, "")
    assert "model has two classes of one name, 'dog'" in finished.errors


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_and_a_model_where_one_stands_are_of_their_run(vit: Vit, run: Path) -> None:
    """So what the run held out is known, and what it learned from; a checkpoint is not what it came to."""
    step = (run / "checkpoints" / "LAST").read_text().strip()
    checkpoint = str(run / "checkpoints" / step / "model")
    before = sorted((run / "evaluation").rglob("*"))
    found = evaluate(vit, run.parent, checkpoint, "digits")
    assert (found.code, "digits test: 360 images" in found.output) == (0, True), found.errors
    assert metrics(run.parent / "evaluation-model-digits-test")["places"]["model"] == checkpoint
    assert sorted((run / "evaluation").rglob("*")) == before
    trained = evaluate(vit, run / "model", ".", "digits", "--split", "train")
    assert "trained on some of these" in trained.output, trained.errors
    assert (run / "evaluation" / "digits-train" / "index.html").exists()


@pytest.mark.parametrize(
    ("source", "name", "split", "is_warned"),
    [
        (DataSource(name="cifar10"), "cifar10", "train", True),  # the same images as JPEG, or as they were
        (DataSource(name="cifar10"), "cifar10", "validation", True),
        (DataSource(name="cifar10"), "cifar10", "test", False),
        (DataSource(name="cifar100"), "cifar10", "train", False),
        (DataSource(name="folder", path="~/photos"), "photos", "all", True),
    ],
)
def test_images_that_were_learned_from_are_warned_of(
    source: DataSource,
    name: str,
    split: Split,
    is_warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = replace(find_recipe("digits"), data=source)
    record = Record(FORMAT_VERSION, recipe, "", (), Versions("0", "3", "2", "linux"), ())
    label = torch.zeros(1, dtype=torch.int64)
    in_memory = ImagesInMemory(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), label, name)
    in_files = ImageFiles((tmp_path / name / "cat" / "1.jpg",), label)
    images = in_memory if source.path is None else in_files
    labelled = Labelled(name, {split: images}, ("cat",), "", is_of_run=False)
    paths = tmp_path / "model", tmp_path / name
    subject = Subject(paths[0], None, record, random_classifier(), labelled, split, paths[1], images)
    assert ("trained on" in (subject.warning or "")) == is_warned
