"""`vit convert` says what it did with every tensor, checks it, and writes nothing that is not whole."""

import json
from pathlib import Path

import pytest
import torch
from tests.classifiers import CLASSES, save_random_model
from tests.commands import Vit
from tests.photographs import noise

from vision_transformers.classifier import load
from vision_transformers.weights.conversion import read_native

pytest.importorskip("timm", reason="timm is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_random_model(tmp_path / "model", temperature=1.5)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("format", ["timm", "huggingface", "torchvision"])
def test_to_a_format_and_back_is_the_same_model(vit: Vit, tmp_path: Path, format: str) -> None:
    there = [
        "convert",
        "model",
        "there",
        "--from",
        "native",
        "--to",
        format,
        "--verify",
        "--report",
        "r.json",
    ]
    finished = vit.run(tmp_path, there)
    assert finished.code == 0, finished.errors
    assert "computes the same: largest difference" in finished.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["written"]["left_out"] == []
    before = {tensor["name"] for change in report["written"]["renamed"] for tensor in change["before"]}
    assert "transformer.layers.1.attention_normalization.weight" in before
    back = ["convert", "there", "back", "--from", format, "--to", "native", "--verify"]
    finished = vit.run(tmp_path, back)
    assert finished.code == 0, finished.errors
    ours, again = read_native(tmp_path / "model"), read_native(tmp_path / "back")
    assert again.description == ours.description
    assert all(torch.equal(again.weights[name], value) for name, value in ours.weights.items())


def test_a_model_of_any_format_is_loaded_and_asked(vit: Vit, model: Path, tmp_path: Path) -> None:
    vit.run(tmp_path, ["convert", "model", "timm", "--from", "native", "--to", "timm"])
    ours, theirs = load(model, device="cpu"), load(tmp_path / "timm", format="timm", device="cpu")
    assert theirs.classes == CLASSES
    assert theirs.predict(noise(1)) == ours.predict(noise(1))


@pytest.mark.usefixtures("model")
def test_what_makes_no_sense_is_told_and_nothing_is_written(vit: Vit, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    state = {"conv_proj.weight": torch.zeros(32, 3, 8, 8)}
    torch.save(state, tmp_path / "half.pth")
    cases = [
        (["model", "taken", "--from", "native", "--to", "timm"], 2, "taken is there already"),
        (["model", "new", "--from", "native", "--to", "native"], 2, "both native"),
        (["nothing", "new", "--from", "timm", "--to", "native"], 2, "there is no file or folder nothing"),
        (["model", "new", "--from", "timm", "--to", "native"], 2, "look like native"),
        (["half.pth", "new", "--from", "torchvision", "--to", "native"], 1, "encoder.pos_embedding"),
        (["hf:nobody", "new", "--from", "timm", "--to", "native"], 2, "expected hf:OWNER/NAME"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, code, message in cases:
        finished = vit.run(tmp_path, ["convert", *arguments])
        assert (finished.code, message in finished.errors) == (code, True), finished.errors
        assert "Traceback" not in finished.errors
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("model")
def test_a_model_is_made_for_other_images_and_classes(vit: Vit, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("hen\ncock")
    command = [
        "convert",
        "model",
        "new",
        "--from",
        "native",
        "--to",
        "native",
        "--to-image-shape",
        "32",
        "24",
    ]
    command += ["--to-channels", "1", "--to-classes", "names.txt"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 1
    assert "2 tensors would be left out" in finished.errors
    assert "head.classifier.weight" in finished.errors
    assert not (tmp_path / "new").exists()
    finished = vit.run(tmp_path, [*command, "--allow", "head"])
    assert finished.code == 0, finished.errors
    assert "newly made" in finished.output
    classifier = load(tmp_path / "new", device="cpu")
    assert classifier.classes == ("hen", "cock")
    assert classifier.preprocessing.size == (32, 24)
    assert classifier.predict(noise(1)[..., :1])[0].label in ("hen", "cock")


@pytest.mark.usefixtures("model")
def test_class_names_that_are_missing_are_asked_for(vit: Vit, tmp_path: Path) -> None:
    vit.run(tmp_path, ["convert", "model", "there", "--from", "native", "--to", "torchvision"])
    (tmp_path / "there" / "vision_transformers.json").unlink()
    command = [
        "convert",
        "there",
        "back",
        "--from",
        "torchvision",
        "--to",
        "native",
        "--number-of-heads",
        "4",
    ]
    finished = vit.run(tmp_path, command)
    assert finished.code == 2
    assert "7 classes and 0 class names: give them with --classes" in finished.errors
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    assert vit.run(tmp_path, [*command, "--classes", "names.txt"]).code == 0
    assert read_native(tmp_path / "back").description.classes == CLASSES
    for target, format in (("renamed", "native"), ("others", "huggingface")):
        (tmp_path / "few.txt").write_text("\n".join(CLASSES[1:]))
        few = ["convert", "model", target, "--from", "native", "--to", format, "--classes", "few.txt"]
        refused = vit.run(tmp_path, few)
        assert refused.code == 2
        assert "7 classes and 6 class names" in refused.errors
        assert not (tmp_path / target).exists()
    (tmp_path / "new.txt").write_text("\n".join(name.upper() for name in CLASSES))
    rename = ["convert", "model", "renamed", "--from", "native", "--to", "native", "--classes", "new.txt"]
    assert vit.run(tmp_path, rename).code == 0
    assert read_native(tmp_path / "renamed").description.classes == tuple(name.upper() for name in CLASSES)
