"""`vit export` says what is wrong before it works for long, and leaves nothing that was not checked."""

import sys
from pathlib import Path

import pytest
from tests.classifiers import save_random_model
from tests.commands import Vit

from vision_transformers.cli.main import main


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_random_model(tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("model model.pt2", 2, "model.pt2: its ending should be .onnx"),
        ("model taken.onnx", 2, "taken.onnx is there already: choose another target, or remove it first"),
        ("model nowhere/it.onnx", 2, "there is no folder nowhere to write it.onnx into"),
        ("nothing it.onnx", 2, "there is no model nothing: give the folder of a run or of a model"),
        ("empty it.onnx", 2, "empty is neither a run nor a model folder"),
        ("model it.onnx --tolerance -1", 2, "--tolerance is -1.0: expected 0 or more"),
        ("model it.onnx --images empty", 3, "the folder empty has no pictures"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(
    working_folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, code: int, says: str
) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    (working_folder / "taken.onnx").write_text("dear")
    (working_folder / "empty").mkdir()
    assert main(["export", *arguments.split()]) == code
    assert says in capsys.readouterr().err
    assert (working_folder / "taken.onnx").read_text() == "dear"
    assert not (working_folder / "it.onnx").exists()


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, library, None)
    assert main(["export", "model", "it.onnx"]) == 2
    message = capsys.readouterr().err
    assert "an export needs onnx and onnxscript" in message
    assert 'pip install "vision_transformers[export]"' in message


def test_what_computes_too_far_from_the_model_is_not_there(vit: Vit, working_folder: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    finished = vit.run(working_folder, ["export", "model", "it.onnx", "--tolerance", "1e-12"])
    assert finished.code == 1
    assert "ONNX Runtime computes something else than the model" in finished.errors
    assert "Traceback" not in finished.errors
    assert [path.name for path in working_folder.iterdir()] == ["model"]
