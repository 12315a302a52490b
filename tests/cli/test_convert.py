"""`vit convert` says what it did with every tensor, checks it, and writes nothing that is not whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.classifiers import CLASSES, save_random_model
from tests.commands import Vit
from tests.photographs import noise
from tests.weights.portable import CLIP_OPTIONS, VIT_PYTORCH_OPTIONS, outputs, portable
from torch import Tensor

from vision_transformers.classifier import load
from vision_transformers.cli.convert import _verify
from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import export_model, import_model, read_native, write_native
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

pytest.importorskip("timm", reason="timm is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_random_model(tmp_path / "model", temperature=1.5)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("format", ["timm", "huggingface", "torchvision"])
def test_to_a_format_and_back_is_the_same_model(
    vit: Vit, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert (f"{format} makes the same pixels of" in finished.output) == (format != "torchvision")
    assert f"{format} computes without the temperature 1.5" in finished.output
    loaded: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(finished.output.partition("\nIn Python:\n")[2], loaded)
    assert isinstance(loaded["model"], torch.nn.Module)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["written"]["left_out"] == []
    before = {tensor["name"] for change in report["written"]["renamed"] for tensor in change["before"]}
    assert "transformer.layers.1.attention_normalization.weight" in before
    back = ["convert", "there", "back", "--from", format, "--to", "native", "--verify", "--report", "b.json"]
    finished = vit.run(tmp_path, back)
    assert finished.code == 0, finished.errors
    ours, again = read_native(tmp_path / "model"), read_native(tmp_path / "back")
    read = json.loads((tmp_path / "b.json").read_text())["read"]
    changes = [*read["matched"], *read["renamed"], *read["transformed"]]
    assert sorted(tensor["name"] for each in changes for tensor in each["after"]) == sorted(ours.weights)
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
        (
            ["model", "new", "--from", "native", "--to", "native", "--to-channels", "1", "--verify"],
            2,
            "--verify lets another library compute too, which reads neither",
        ),
        (
            ["model", "new", "--from", "native", "--to", "hf"],
            2,
            "'hf' is not known: did you mean 'huggingface'",
        ),
        (["model", "new", "--from", "Timm", "--to", "native"], 2, "did you mean 'timm'? Known are native,"),
        (["hf:nobody", "new", "--from", "timm", "--to", "native"], 2, "expected hf:OWNER/NAME"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, code, message in cases:
        finished = vit.run(tmp_path, ["convert", *arguments])
        assert (finished.code, message in finished.errors) == (code, True), finished.errors
        assert "Traceback" not in finished.errors
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\nzzz\n", "the model does not know 'zzz'. Where that is meant"),
        (b"cat\ncat\n", "two classes cannot have one name: 'cat'"),
        (b"cat\n\ndog\n", "a class name is ''"),
    ],
)
def test_a_name_that_makes_the_head_another_is_told(
    vit: Vit, tmp_path: Path, content: bytes, message: str
) -> None:
    save_random_model(tmp_path / "animals")
    (tmp_path / "names.txt").write_bytes(content)
    command = ["convert", "animals", "new", "--from", "native", "--to", "native", "--to-classes", "names.txt"]
    finished = vit.run(tmp_path, command)
    assert (finished.code != 0, message in finished.errors) == (True, True), finished.errors
    assert not (tmp_path / "new").exists()


def test_names_in_a_file_of_windows_are_known(vit: Vit, tmp_path: Path) -> None:
    """It begins with a mark that nobody sees, ends its lines otherwise, and may have a line too many."""
    save_random_model(tmp_path / "animals")
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfowl\r\ncat\r\n\r\n")
    command = ["convert", "animals", "new", "--from", "native", "--to", "native", "--to-classes", "names.txt"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    assert load(tmp_path / "new", device="cpu").classes == ("owl", "cat")


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
    finished = vit.run(tmp_path, [*command, "--verify"])
    assert finished.code == 2
    assert "7 classes and 0 class names: give them with --classes" in finished.errors
    assert "`vit train finetune --init there --init-format torchvision" in finished.errors
    assert "verified" not in finished.output  # which takes long for a large model
    matrices = vit.run(tmp_path, [*command, "--low-rank", "there"])  # which would bring names
    assert "holds no low-rank matrices" in matrices.errors
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    assert vit.run(tmp_path, [*command, "--classes", "names.txt"]).code == 0
    assert read_native(tmp_path / "back").description.classes == CLASSES
    for target, format in (("renamed", "native"), ("others", "huggingface")):
        (tmp_path / "few.txt").write_text("\n".join(CLASSES[1:]))
        few = ["convert", "model", target, "--from", "native", "--to", format, "--classes", "few.txt"]
        refused = vit.run(tmp_path, few)
        assert refused.code == 2
        assert "7 classes and 6 class names" in refused.errors
        assert "finetune" not in refused.errors
        assert not (tmp_path / target).exists()
    (tmp_path / "new.txt").write_text("\n".join(name.upper() for name in CLASSES))
    rename = ["convert", "model", "renamed", "--from", "native", "--to", "native", "--classes", "new.txt"]
    assert vit.run(tmp_path, rename).code == 0
    assert read_native(tmp_path / "renamed").description.classes == tuple(name.upper() for name in CLASSES)


@pytest.mark.usefixtures("model")
def test_a_tensor_that_nobody_knows_is_named_before_a_library_is_asked(vit: Vit, tmp_path: Path) -> None:
    command = ["--from", "native", "--to", "torchvision"]
    assert vit.run(tmp_path, ["convert", "model", "there", *command]).code == 0
    file = tmp_path / "there" / "model.safetensors"
    save_file(load_file(file) | {"extra": torch.ones(2)}, file)
    command = ["convert", "there", "back", "--from", "torchvision", "--to", "native", "--verify"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 1
    assert "1 tensor would be left out:\n  extra" in finished.errors
    # The file was changed since names were written beside it.
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    finished = vit.run(tmp_path, [*command, "--allow", "extra", "--classes", "names.txt"])
    assert finished.code == 1
    assert "torchvision cannot load there itself" in finished.errors
    assert "Traceback" not in finished.errors
    assert not (tmp_path / "back").exists()


def test_what_another_library_computes_otherwise_is_not_said_to_be_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(FORMATS["timm"], reference=lambda *_: lambda images: torch.ones(len(images), 5))
    monkeypatch.setitem(FORMATS, "timm", other)
    with pytest.raises(Failure, match=r"timm computes something else from there: largest difference .*"):
        _verify(portable(), "timm", Path("there"))
    assert capsys.readouterr().out == ""


PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Tensor], str, str]] = {
    "facebook": (
        {"layer_scale": 1e-5, "hidden_dimension": 64, "number_of_classes": 0},
        {"mask_token": torch.zeros(1, 32)},
        "huggingface",
        "mask_token",
    ),
    "clip": (
        CLIP_OPTIONS,
        {"visual.proj": torch.ones(32, 16), "transformer.resblocks.0.ln_1.weight": torch.ones(16)},
        "timm",
        "proj",
    ),
}
"""By format: the architecture, tensors that stand beside a classifier, what becomes of it, and a name."""


@pytest.mark.parametrize("format", PUBLISHED)
def test_what_a_published_file_has_beside_a_classifier_stops_no_conversion(
    format: str, vit: Vit, tmp_path: Path
) -> None:
    options, beside, other, name = PUBLISHED[format]
    export_model(tmp_path / "model", portable(**options), FORMATS[format], Report())
    (file,) = (tmp_path / "model").glob("*.safetensors")
    save_file(load_file(file) | beside, file)
    command = ["convert", "model", "there", "--from", format, "--to", other, "--report", "r.json"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    (note,) = [line for line in finished.output.splitlines() if f"note: {other} has no place for" in line]
    assert name in note
    (change,) = json.loads((tmp_path / "r.json").read_text())["written"]["without_place"]
    assert len(change["before"]) == len(beside)


@pytest.mark.usefixtures("model")
def test_a_report_that_cannot_be_written_is_told_before_the_target_is_made(vit: Vit, tmp_path: Path) -> None:
    command = ["convert", "model", "new", "--from", "native", "--to", "timm", "--report"]
    finished = vit.run(tmp_path, [*command, "no/such/report.json"])
    assert finished.code == 2
    assert "there is no folder no/such to write report.json into" in finished.errors
    finished = vit.run(tmp_path, [*command, "model"])
    assert finished.code == 2
    assert "model is a folder: name a file to write" in finished.errors
    finished = vit.run(tmp_path, [*command, "/proc/report.json"])
    assert finished.code == 2
    assert "/proc/report.json cannot be written" in finished.errors
    assert not (tmp_path / "new").exists()
    assert vit.run(tmp_path, [*command, "new/report.json"]).code == 0
    assert "written" in json.loads((tmp_path / "new" / "report.json").read_text())


@pytest.mark.usefixtures("model")
def test_the_option_whose_file_is_missing_is_named(vit: Vit, tmp_path: Path) -> None:
    imagenet = ["convert", "model", "new", "--from", "native", "--to", "native", "--classes", "imagenet-1k"]
    assert "7 classes and 1000 class names" in vit.run(tmp_path, imagenet).errors
    for option in ("--classes", "--to-classes"):
        command = ["convert", "model", "new", "--from", "native", "--to", "native", option, "none.txt"]
        finished = vit.run(tmp_path, command)
        assert finished.code == 2
        assert f"there is no file none.txt: {option} names one" in finished.errors


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("google", {"activation": "gelu-tanh"}),
        ("vit-pytorch", VIT_PYTORCH_OPTIONS | {"class_token": False, "pool": "mean"}),
    ],
)
def test_positions_that_another_library_does_not_compute_are_stored(
    format: str, options: dict[str, Any], vit: Vit, tmp_path: Path
) -> None:
    model = portable(positions="sine-cosine-mae", **options)
    write_native(tmp_path / "model", model)
    finished = vit.run(tmp_path, ["convert", "model", "there", "--from", "native", "--to", format])
    assert finished.code == 0, finished.errors
    assert "note: positions that were computed are stored, as if they were learned" in finished.output
    found = import_model(tmp_path / "there", FORMATS[format], Given(), Report())
    assert found.description.model.positions == "learnable"
    torch.testing.assert_close(outputs(found)[1], outputs(model)[1])
