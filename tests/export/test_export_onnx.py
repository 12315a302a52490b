"""An ONNX file says what `vit predict` says, or it is not there. Exports run in processes of their own: they
cannot trace the tests' run-time type checks."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.commands import Vit
from tests.export.exported_models import (
    CLASSES,
    OPTIONS,
    SIZE,
    cropping_classifier,
    save_classifier,
    wide_classifier,
)
from tests.photographs import save_photographs, save_unreadable

from vision_transformers.classifier import Classifier
from vision_transformers.cli.main import main
from vision_transformers.data.pictures import read_pictures
from vision_transformers.errors import DataFailure, Failure, UsageFailure
from vision_transformers.export.export_onnx import export_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `export`")
pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra `export`")

from vision_transformers.export import onnx_file  # noqa: E402 - it imports onnx
from vision_transformers.export.verification import verify, verify_guesses  # noqa: E402

COMPUTED_ONCE = {"Resize", "Sin", "Cos", "Range", "Pow"}
"""What positions are resized or computed by."""


@pytest.mark.parametrize("name", OPTIONS)
def test_one_file_computes_the_same_for_any_batch(vit: Vit, tmp_path: Path, name: str) -> None:
    classifier = save_classifier(name, tmp_path / "model")
    photographs = save_photographs(tmp_path / "photographs", 4)
    command = ["export", "model", "it.onnx", "--images", "photographs"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    assert finished.errors == ""
    assert "on the CPU: 4 pictures\n" in finished.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.onnx", "model", "photographs"]

    check_graph(tmp_path / "it.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    for batch in (1, 3):
        check_outputs(session, classifier, photographs[:batch])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(classifier.classes)
    assert json.loads(metadata["preprocessing"])["size"] == list(SIZE)


def check_graph(path: Path) -> None:
    """Standard operators alone, constants for one size, and nothing about this machine."""
    model = onnx.load(path, load_external_data=False)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert not COMPUTED_ONCE & {node.op_type for node in model.graph.node}
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert [value.name for value in model.graph.input] == ["pixels"]


def check_outputs(
    session: "onnxruntime.InferenceSession", classifier: Classifier, photographs: list[Path]
) -> None:
    """As the classifier says, from the same pixels."""
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"pixels": pixels_of(photographs, classifier)}), strict=True))
    features = classifier.features(photographs).numpy()
    np.testing.assert_allclose(found["features"], features, rtol=0, atol=1e-5 * np.abs(features).max())
    if not classifier.classes:
        assert names == ["features"]
        return
    assert found["logits"].shape == (len(photographs), len(CLASSES))
    predictions = classifier.predict(photographs, top=1)
    assert found["probabilities"].argmax(1).tolist() == [prediction.index for prediction in predictions]
    probabilities = [prediction.probability for prediction in predictions]
    np.testing.assert_allclose(found["probabilities"].max(1), probabilities, rtol=0, atol=1e-5)


def pixels_of(photographs: list[Path], classifier: Classifier) -> np.ndarray:
    """At the classifier's size."""
    (batch,) = read_pictures(photographs, classifier.preprocessing, len(photographs), workers=0)
    return torch.stack([picture.pixels for picture in batch if picture.pixels is not None]).numpy()


def test_what_another_model_computes_is_no_export_of_this_one(exported: Path) -> None:
    """With a weight that is a thousandth off, or a temperature."""
    ours = cropping_classifier()
    agreement = verify((exported / "model.onnx").read_bytes(), ours, [], 1e-5)
    assert (agreement.pictures, agreement.same_class) == (10, 10)
    with pytest.raises(Failure, match="something else than the model: probabilities differ by"):
        verify((exported / "model.onnx").read_bytes(), cropping_classifier(temperature=1.51), [], 1e-4)
    with torch.no_grad():
        next(ours.model.transformer.layers[0].feed_forward.parameters()).mul_(1.001)
    with pytest.raises(Failure, match="differ by"):
        verify((exported / "model.onnx").read_bytes(), ours, [], 1e-5)
    with torch.no_grad():
        ours.model.head.classifier.bias[0] = torch.nan
    with pytest.raises(Failure, match="differ by nan"):
        verify((exported / "model.onnx").read_bytes(), ours, [], 1e-4)


def test_weights_of_8_bits_take_a_quarter_of_the_file_and_guess_the_same(vit: Vit, tmp_path: Path) -> None:
    """In standard operators, and nearly the same features on any processor: with signed weights, those that
    have no instructions for 8 bits are half of the way off."""
    classifier = wide_classifier()
    classifier.save(tmp_path / "model")
    photographs = save_photographs(tmp_path / "photographs", 8)
    command = ["export", "model", "it.onnx", "--int8", "--images", "photographs", "--same-class", "0.5"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    assert finished.errors == ""
    assert "same class     " in finished.output
    weights = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert (tmp_path / "it.onnx").stat().st_size < 0.3 * weights
    check_graph(tmp_path / "it.onnx")
    assert "MatMulInteger" in {node.op_type for node in onnx.load(tmp_path / "it.onnx").graph.node}
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(classifier.classes)
    (found,) = session.run(["features"], {"pixels": pixels_of(photographs, classifier)})
    expected = classifier.features(photographs).numpy()
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_a_file_that_guesses_otherwise_is_no_export(exported: Path, tmp_path: Path) -> None:
    photographs = save_photographs(tmp_path, 4)
    ours = cropping_classifier()
    guess = ours.predict(photographs[0])[0].index
    with torch.no_grad():
        ours.model.head.classifier.bias[(guess + 1) % len(CLASSES)] += 1000
    with pytest.raises(Failure, match=r"another class for \d of 4 pictures, and 99.0% must be the same"):
        verify_guesses((exported / "model.onnx").read_bytes(), ours, photographs, 0.99)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--int8", "--int8 needs --images"),
        ("--int8 --images . --tolerance 0.1", "--tolerance is for float32"),
        ("--same-class 0.5", "--same-class is for --int8"),
        ("--int8 --images . --same-class 1.5", "--same-class is 1.5: expected a part of the images, 0 to 1"),
    ],
)
def test_what_is_asked_of_8_bits_in_vain_is_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "model", "it.onnx", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_cut_short_is_no_export(exported: Path) -> None:
    short = (exported / "model.onnx").read_bytes()[:-500]
    with pytest.raises(Failure, match="ONNX Runtime cannot read"):
        verify(short, cropping_classifier(), [], 1e-4)


def test_a_picture_that_cannot_be_read_is_told(exported: Path, tmp_path: Path) -> None:
    pictures = save_photographs(tmp_path, 2) + save_unreadable(tmp_path / "bad")
    with pytest.raises(DataFailure, match=r"bomb\.png cannot be decoded"):
        verify((exported / "model.onnx").read_bytes(), cropping_classifier(), pictures, 1e-4)


def test_the_same_model_gives_the_same_bytes(vit: Vit, exported: Path, tmp_path: Path) -> None:
    """Wherever it lies, whatever it is called, so that files can be compared."""
    name = os.fsdecode(b"caf\xe9\x1b.onnx")
    cropping_classifier().save(tmp_path / "elsewhere")
    finished = vit.run(tmp_path, ["export", "elsewhere", name])
    assert finished.code == 0, finished.errors
    assert "written        caf\\udce9\\x1b.onnx, " in finished.output
    assert (tmp_path / name).read_bytes() == (exported / "model.onnx").read_bytes()


def test_a_classifier_elsewhere_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = cropping_classifier()
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 10_000)
    with pytest.raises(Failure, match=r"GiB of parameters: one ONNX file holds less than 2"):
        export_onnx(classifier, tmp_path / "it.onnx")
    classifier.precision = "bfloat16"
    with pytest.raises(UsageFailure, match="in float32 on the CPU"):
        export_onnx(classifier, tmp_path / "it.onnx")
    assert not list(tmp_path.iterdir())
