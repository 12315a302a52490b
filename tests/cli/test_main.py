"""The command answers at once, and everything that it cannot do ends with one message and an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.classifiers import save_random_model
from tests.commands import Vit

from vision_transformers.classifier import Classifier
from vision_transformers.cli.main import COMMANDS, main
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.model_folder import ModelDescription

VIT = str(Path(sys.executable).parent / "vit")

HELP = """
import sys
from vision_transformers.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "torchvision", "numpy", "matplotlib", "sklearn", "tensorboard"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "mnist", "--help"],
        ["evaluate", "--help"],
        ["predict", "--help"],
        ["export", "--help"],
        ["report", "--help"],
        ["models", "--help"],
        ["check", "--help"],
        ["serve", "--help"],
        [],
    ],
)
def test_help_is_instant(arguments: list[str]) -> None:
    """It imports no torch, which takes seconds."""
    finished = subprocess.run(
        [sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "vit" in finished.stdout


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"  {name} " in output for name in COMMANDS)


def test_nothing_asked_for_is_answered_with_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "usage: vit COMMAND" in capsys.readouterr().out


def test_a_misspelt_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "vit: there is no command 'trian': did you mean 'train'?\n"


def test_the_installed_command_says_which_it_is() -> None:
    finished = subprocess.run([VIT, "--version"], capture_output=True, text=True, check=True)
    assert finished.stdout.startswith("vit 0.")


@pytest.mark.parametrize(
    ("images", "said"), [(4, ": Unable to allocate"), (40, "\n")], ids=["NumPy", "Pillow"]
)
def test_too_little_memory_is_told_in_one_message(vit: Vit, tmp_path: Path, images: int, said: str) -> None:
    """Few pictures are read and cannot be normalised, many cannot be read; Pillow has no words for it."""
    config = ViTConfig((64, 64), 16, 1, 2, 16, 3, 2, (4096, 4096), positions="none")
    description = ModelDescription(config, Preprocessing((4096, 4096)), ("cat", "dog"))
    Classifier(ViT.from_config(config), description, "cpu").save(tmp_path / "model")
    (tmp_path / "images").mkdir()
    for number in range(images):
        Image.new("RGB", (16, 16)).save(tmp_path / "images" / f"{number}.png")
    finished = vit.run(
        tmp_path, ["predict", "model", "images", "--device", "cpu"], memory_limit=1_500_000_000
    )
    assert finished.code == 1
    assert finished.errors.startswith(f"vit: the memory is not enough{said}")
    assert "Try a smaller --batch-size" in finished.errors
    assert "Traceback" not in finished.errors


def test_a_reader_that_has_gone_is_no_failure_to_complain_of() -> None:
    """As with `vit train --help | head -1`."""
    finished = subprocess.run(
        ["bash", "-c", f'"{VIT}" train --help | head -1'], capture_output=True, text=True, check=False
    )
    assert finished.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "model", "-", "--output", "it.csv"],
        ["explain", "model", "-"],
        ["export", "model", "it.onnx", "--images", "-"],
    ],
)
def test_a_list_on_standard_input_that_is_closed_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """As of services, which have none."""
    if arguments[0] == "export":
        pytest.importorskip("onnxscript", reason="needs the extra `export`")
        pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    save_random_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", None)
    assert main(arguments) == 3
    assert "standard input named no pictures" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "speaks_of_a_run"), [("train", True), ("check", False)])
def test_an_interruption_speaks_of_runs_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, speaks_of_a_run: bool
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"vision_transformers.cli.{command}.main", interrupted)
    assert main([command]) == 130
    error = capsys.readouterr().err
    assert ("interrupted" in error, "what a run had saved" in error) == (True, speaks_of_a_run)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "model", ""], "an argument"),
        (["check", ""], "an argument"),
        (["train", "folder", "--data.path", ""], "--data.path"),
        (["train", "digits", "--run-folder="], "--run-folder"),
    ],
)
def test_a_path_that_is_empty_is_not_the_working_folder(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    """As of a variable of the shell that is not set."""
    assert main(arguments) == 2
    assert f"vit: {named} is empty" in capsys.readouterr().err
