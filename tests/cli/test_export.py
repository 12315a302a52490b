"""`vit export` says what is wrong before it works for long, and leaves nothing that was not checked."""

import os
import signal
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
        ("model /proc/it.onnx", 2, "/proc/it.onnx cannot be written ("),
        ("model " + "x" * 300 + ".onnx", 2, "cannot be written (File name too long)"),
        ("nothing it.onnx", 2, "there is no model nothing: give the folder of a run or of a model"),
        ("empty it.onnx", 2, "empty is neither a run nor a model folder"),
        ("model it.onnx --tolerance -1", 2, "--tolerance is -1.0: expected 0 or more"),
        ("model it.onnx --tolerance nan", 2, "--tolerance is nan: expected 0 or more"),
        ("model it.onnx --images gone.png", 3, "gone.png does not exist: check the path"),
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


def test_whoever_ends_an_export_finds_nothing_of_it(vit: Vit, working_folder: Path) -> None:
    """Though it compares many pictures: here it waits for one, which never comes."""
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    os.mkfifo(working_folder / "slow.png")
    writers: list[int] = []
    process = vit.start(working_folder, ["export", "model", "it.onnx", "--images", "slow.png"])
    assert process.until(lambda: has_reader(working_folder / "slow.png", writers))
    assert process.kill().code == -signal.SIGKILL
    os.close(*writers)
    assert sorted(path.name for path in working_folder.iterdir()) == ["model", "slow.png"]


def has_reader(pipe: Path, writers: list[int]) -> bool:
    """Whether somebody has opened it, who waits from now on for what the last of the writers writes."""
    try:
        writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_what_computes_too_far_from_the_model_is_not_there(vit: Vit, working_folder: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    finished = vit.run(working_folder, ["export", "model", "it.onnx", "--tolerance", "1e-12"])
    assert finished.code == 1
    assert "ONNX Runtime computes something else than the model" in finished.errors
    assert "Traceback" not in finished.errors
    assert [path.name for path in working_folder.iterdir()] == ["model"]
