"""What cannot be done ends with one message that says what to do; nothing that existed is damaged."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import MNIST

from vision_transformers.cli.main import main
from vision_transformers.files import cache_folder


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VISION_TRANSFORMERS_DATA", raising=False)
    return tmp_path


def ends(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the message; an exception that is not met fails the test."""
    try:
        code: str | int | None = main(["train", *arguments.split()])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert isinstance(code, int)
    return code, re.sub(r"[\s│]+", " ", captured.err)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def no_pictures(folder: Path) -> None:
    folder.mkdir()


def a_file(folder: Path) -> None:
    picture(folder.with_suffix(".png"))
    folder.with_suffix(".png").rename(folder)


def an_empty_class(folder: Path) -> None:
    picture(folder / "cat" / "1.png")
    (folder / "dog").mkdir()


def one_class(folder: Path) -> None:
    picture(folder / "cat" / "1.png")


def a_text_among_pictures(folder: Path) -> None:
    picture(folder / "cat" / "1.png")
    picture(folder / "dog" / "1.png")
    (folder / "dog" / "2.jpg").write_text("I am no picture")


def a_cut_header(folder: Path) -> None:
    picture(folder / "cat" / "1.png")
    picture(folder / "dog" / "1.png")
    (folder / "dog" / "2.png").write_bytes((folder / "dog" / "1.png").read_bytes()[:20])


def one_picture_each(folder: Path) -> None:
    picture(folder / "cat" / "1.png")
    picture(folder / "dog" / "1.png")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (None, "vit: images does not exist: check --data.path"),
        (no_pictures, "images has no folders in it: give each class one"),
        (a_file, "images is a file: --data.path names a folder"),
        (an_empty_class, "the class folder images/dog has no images"),
        (one_class, "images has one class, 'cat': a classifier needs two or more"),
        (a_text_among_pictures, "images/dog/2.jpg cannot be decoded: it is none of JPEG, PNG"),
        (a_cut_header, "images/dog/2.png cannot be decoded"),
        (
            one_picture_each,
            "the class 'cat' has 1 of the 2 images that it needs to hold one out, not counting",
        ),
    ],
)
def test_a_folder_that_cannot_be_trained_on(
    working_folder: Path,
    make: Callable[[Path], None] | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if make is not None:
        make(working_folder / "images")
    before = {path: path.read_bytes() for path in working_folder.rglob("*") if path.is_file()}
    code, message = ends("folder --data.path images --run-folder run", capsys)
    assert code == 3
    assert says in message
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (working_folder / "run").exists()


def test_a_folder_in_the_place_of_a_recipe_is_told_its_own(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_class(working_folder / "pets")
    code, message = ends("pets/", capsys)
    assert (code, "`vit train folder --data.path pets/` learns from its pictures" in message) == (2, True)


def test_the_home_of_nobody_is_a_folder_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = ends("folder --data.path ~nobody-here/pets", capsys)
    assert (code, "~nobody-here/pets does not exist: check --data.path" in message) == (3, True), message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("digitz", "no recipe is called 'digitz': did you mean 'digits'?"),
        ("folder", "data.path is missing: say where the pictures lie with --data.path PATH"),
        ("digits --init ~nobody-here/model", "there is no model ~nobody-here/model"),
        ("digits --data.path pets", "which `vit train folder --data.path pets` learns from"),
        ("folder pets", "a folder of pictures is --data.path pets, and one recipe is trained at a time"),
        ("digits --model.model-dimensoin 4", "--model.model-dimension"),
        ("digits --sede 4", "--seed"),
        ("digits --epochs three", "invalid literal for int() with base 10: 'three'"),
        ("digits --optimizer.name muno", "invalid choice 'muno'"),
        ("digits --model.number-of-heads 5", "number_of_heads is 5, which does not divide 64"),
        ("digits --model.patch-shape 16 16", "max_image_shape (8, 8) is not whole patches of (16, 16)"),
        ("digits --model.patch-shape 3 3", "max_image_shape (8, 8) is not whole patches of (3, 3)"),
        (
            "digits --preprocessing.size 16 16",
            "but preprocessing.size is (16, 16): they are the same, and --image-shape",
        ),
        ("digits --preprocessing.channels 3", "but preprocessing.channels is 3"),
        ("digits --model.number-of-classes 7", "but the data has 10 classes"),
        ("digits --epochs 0", "epochs is 0: expected 1 or more"),
        ("digits --batch-size 0", "batch_size is 0: expected 1 or more"),
        ("digits --seed -1", "seed is -1: expected 0 or more"),
        ("digits --model.dropout 1", "dropout is 1.0: expected at least 0 and less than 1"),
        ("digits --label-smoothing 1", "label_smoothing is 1.0: expected at least 0 and less than 1"),
        ("digits --average-decay 2", "average_decay is 2.0: expected at least 0 and less than 1"),
        ("digits --accumulation 7", "accumulation is 7, which does not divide 32"),
        ("digits --optimizer.learning-rate 0", "optimizer.learning_rate is 0.0: expected above 0"),
        ("digits --optimizer.learning-rate nan", "optimizer.learning_rate is nan: expected above 0"),
        ("digits --optimizer.weight-decay nan", "optimizer.weight_decay is nan: expected 0 or more"),
        ("digits --optimizer.betas 0.9 1", "1.0 is not at least 0 and less than 1"),
        ("digits --schedule.warmup 1.5", "schedule.warmup is 1.5: expected 0 to 1"),
        ("digits --augmentation.erasing 2", "augmentation.erasing is 2.0: expected 0 to 1"),
        (
            "digits --augmentation.shear 90",
            "augmentation.shear is 90.0: expected at least 0 and less than 90",
        ),
        ("digits --data.workers -1", "data.workers is -1: expected 0 or more"),
        ("digits --data.validation-fraction 1", "data.validation_fraction is 1.0: expected at least 0"),
        (
            "digits --data.validation-fraction 0 --keep best",
            "set --data.validation-fraction above 0, or --keep last",
        ),
        ("digits --name ../elsewhere", "name is '../elsewhere': run folders begin with it"),
        ("digits --preprocessing.mean nan", "preprocessing.mean is (nan,): expected finite numbers"),
        (
            "digits --accumulation 32 --augmentation.mixup 0.2",
            "accumulation is 32, parts of one image each: mixup and CutMix need two",
        ),
        ("digits --device cpu:1", "device 'cpu:1' cannot be used here"),
        ("digits --device gpu", "device 'gpu' cannot be used here: cpu, cuda and mps are known here"),
        ("digits --device cuda:77", "device 'cuda:77' cannot be used here"),
        ("--resume nowhere", "there is no run folder nowhere"),
        ("--resume", "--resume"),
    ],
)
def test_what_makes_no_sense(
    working_folder: Path, arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = ends(arguments, capsys)
    assert code == 2
    assert says in message
    found = {path.name for path in working_folder.iterdir()}
    assert found <= {"cache"}, "which holds compiled C alone"


def test_a_download_is_announced_and_one_that_fails_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: MNIST) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(MNIST, "download", refuse)
    code, message = ends("mnist", capsys)
    assert code == 3
    assert "MNIST is missing and cannot be downloaded (no route to host): put these files into" in message
    assert f"downloading MNIST into {cache_folder()}" in caplog.text


def test_compiling_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    code, message = ends("digits --compile on", capsys)
    assert code == 2
    assert "--compile on needs a C++ compiler" in message


def test_a_run_folder_that_cannot_be_made(working_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (working_folder / "file").write_text("precious")
    code, message = ends("digits --steps 1 --run-folder file/run", capsys)
    assert code == 1
    assert "cannot write file/run: Not a directory" in message
    assert (working_folder / "file").read_text() == "precious"
