"""`vit predict` gives a row for every picture, the same numbers as the library, and never half a file."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.classifiers import random_classifier, save_random_model
from tests.commands import Vit
from tests.photographs import save_photographs, save_readable, save_unreadable

from vision_transformers.classifier import Classifier

VIT = str(Path(sys.executable).parent / "vit")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "model", temperature=1.5)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return random_classifier(temperature=1.5)


def predict(vit: Vit, folder: Path, model: Path, arguments: Sequence[str], code: int = 0) -> str:
    finished = vit.run(folder, ["predict", str(model), "--device", "cpu", "--workers", "0", *arguments])
    assert finished.code == code, finished.errors
    assert "Traceback" not in finished.errors
    return finished.output


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14),
    reason="PyTorch 2.10 imports its compiler for models that hold no numbers yet",
)
def test_it_starts_without_what_it_does_not_need(model: Path, tmp_path: Path) -> None:
    """torchvision and what compiles models take as long to import as all the rest; so for evaluation."""
    save_photographs(tmp_path, 1)
    code = (
        "import sys; from vision_transformers.cli.main import main; "
        f"code = main(['predict', {str(model)!r}, {str(tmp_path)!r}]); "
        "import vision_transformers.data.labelled, vision_transformers.evaluation.judgement; "
        "sys.exit(str(code or sorted({'torchvision', 'torch._dynamo', 'matplotlib'} & set(sys.modules))))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "[]"


@pytest.mark.usefixtures("one_thread")
def test_the_numbers_are_those_of_the_library_to_the_bit(
    vit: Vit, model: Path, classifier: Classifier, tmp_path: Path
) -> None:
    paths = save_photographs(tmp_path / "pictures", 30)
    found = rows(predict(vit, tmp_path, model, ["pictures", "--format", "csv", "--batch-size", "8"]))
    expected = classifier.predict(paths, batch_size=8)
    assert [row["path"] for row in found] == [str(path.relative_to(tmp_path)) for path in paths]
    for row, one in zip(found, expected, strict=True):
        for place, guess in enumerate(one.top[:3], start=1):
            end = "" if place == 1 else f"_{place}"
            assert row[f"label{end}"].lstrip("'") == guess.label
            assert int(row[f"index{end}"]) == guess.index
            assert float(row[f"probability{end}"]) == guess.probability


def test_workers_and_formats_change_no_number(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "pictures", 20)
    command = ["predict", str(model), "pictures", "--device", "cpu", "--batch-size", "8", "--format", "jsonl"]
    alone, together = (vit.run(tmp_path, [*command, "--workers", number]).output for number in ("0", "2"))
    assert alone == together
    lines = [json.loads(line) for line in alone.splitlines()]
    found = rows(predict(vit, tmp_path, model, ["pictures", "--format", "csv", "--batch-size", "8"]))
    assert [line["probability"] for line in lines] == [float(row["probability"]) for row in found]


def test_a_picture_that_cannot_be_read_is_a_row_and_an_exit_code(
    vit: Vit, model: Path, tmp_path: Path
) -> None:
    good, bad = save_readable(tmp_path / "good"), save_unreadable(tmp_path / "bad")
    arguments = ["good", "bad", "missing.jpg", "--format", "csv"]
    finished = vit.run(tmp_path, ["predict", str(model), *arguments])
    assert finished.code == 3
    assert "5 of 11 pictures could not be read" in finished.errors
    found = rows(finished.output)
    assert [bool(row["error"]) for row in found] == [False] * len(good) + [True] * (len(bad) + 1)
    assert predict(vit, tmp_path, model, [*arguments, "--allow-errors"]) == finished.output


def test_odd_names_are_pictures_too(vit: Vit, model: Path, tmp_path: Path) -> None:
    (source,) = save_photographs(tmp_path / "source", 1, ".png")
    names = [b"with space.png", "größe.png".encode(), b"two\nlines.png", b"=1+1.png", b"not\xffutf8.png"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(source.read_bytes())
    lines = predict(vit, tmp_path, model, ["odd", "--format", "jsonl"]).splitlines()
    found = [json.loads(line) for line in lines]
    assert {os.fsencode(Path(row["path"]).name) for row in found} == set(names)
    assert len({row["probability"] for row in found}) == 1
    assert len(predict(vit, tmp_path, model, ["odd"]).splitlines()) == 1 + len(names)


def test_a_list_on_standard_input(vit: Vit, model: Path, tmp_path: Path) -> None:
    paths = save_photographs(tmp_path, 3)
    command = ["predict", str(model), "-", "--format", "jsonl", "--workers", "0", "--device", "cpu"]
    for separator, more in ((b"\n", []), (b"\0", ["--null"])):
        listed = separator.join(os.fsencode(path) for path in reversed(paths))
        finished = vit.run(tmp_path, [*command, *more], given=listed)
        assert finished.code == 0, finished.errors
        found = [json.loads(line)["path"] for line in finished.output.splitlines()]
        assert found == [str(path) for path in reversed(paths)]


def test_a_list_that_names_nothing_leaves_the_files_that_were_there(
    vit: Vit, model: Path, tmp_path: Path
) -> None:
    files = (tmp_path / "out.csv", tmp_path / "f.npz")
    for file in files:
        file.write_text("of yesterday")
    predict(vit, tmp_path, model, ["-", "--output", "out.csv", "--features", "f.npz"], code=3)
    assert [file.read_text() for file in files] == ["of yesterday"] * 2
    assert set(tmp_path.iterdir()) == set(files)


def test_a_name_that_no_file_can_have_is_a_row_among_others(vit: Vit, model: Path, tmp_path: Path) -> None:
    (good,) = save_photographs(tmp_path, 1)
    listed = b"\n".join((b"a" * 300 + b".jpg", os.fsencode(good)))
    command = ["predict", str(model), "-", "--output", str(tmp_path / "out.csv"), "--workers", "0"]
    finished = vit.run(tmp_path, command, given=listed)
    assert finished.code == 3, finished.errors
    found = rows((tmp_path / "out.csv").read_text())
    assert ["File name too long" in row["error"] for row in found] == [True, False]
    assert found[1]["label"]


def test_what_cannot_be_written_is_told_by_its_own_name(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "pictures", 60)
    arguments = ["predict", str(model), "pictures", "--output", "out.csv", "--features", "f.npz"]
    finished = vit.run(tmp_path, [*arguments, "--top-k", "1", "--workers", "0"], file_limit=6000)
    assert finished.code == 1
    assert "f.npz would be larger than this process may write" in finished.errors
    assert "Traceback" not in finished.errors
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_larger_batch_takes_no_more_open_files(vit: Vit, model: Path, tmp_path: Path) -> None:
    """A worker that cannot open more lets the command wait for ever."""
    save_photographs(tmp_path / "pictures", 120)
    arguments = ["predict", str(model), "pictures", "--workers", "2", "--batch-size", "60", "--format", "csv"]
    finished = vit.run(tmp_path, arguments, open_limit=60)
    assert finished.code == 0, finished.errors
    assert len(rows(finished.output)) == 120


def test_what_the_system_refuses_to_readers_is_not_said_of_the_output(
    vit: Vit, model: Path, tmp_path: Path
) -> None:
    save_photographs(tmp_path / "pictures", 4)
    arguments = ["predict", str(model), "pictures", "--workers", "40", "--batch-size", "2"]
    finished = vit.run(tmp_path, [*arguments, "--output", "out.csv"], open_limit=60)
    assert finished.code == 1
    assert "cannot write" not in finished.errors
    assert "the pictures cannot be read: [Errno 24] Too many open files" in finished.errors
    assert "try fewer --workers" in finished.errors
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.usefixtures("one_thread")
def test_features_are_those_of_the_library_to_the_bit(
    vit: Vit, model: Path, classifier: Classifier, tmp_path: Path
) -> None:
    paths = save_photographs(tmp_path / "pictures", 10)
    (tmp_path / "pictures" / "005.jpg").write_bytes(b"broken")
    predict(vit, tmp_path, model, ["pictures", "--features", "f.npz", "--allow-errors"])
    readable = [path for path in paths if path.name != "005.jpg"]
    with np.load(tmp_path / "f.npz", allow_pickle=False) as loaded:
        assert loaded["paths"].tolist() == [str(path.relative_to(tmp_path)) for path in readable]
        np.testing.assert_array_equal(loaded["features"], classifier.features(readable).numpy())


def test_an_output_is_replaced_by_a_whole_one_only(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "pictures", 200)
    (tmp_path / "out.csv").write_text("before")
    command = [
        "predict",
        str(model),
        "pictures",
        "--format",
        "csv",
        "--output",
        "out.csv",
        "--batch-size",
        "4",
    ]
    killed = vit.start(tmp_path, command)
    assert killed.until(lambda: any(tmp_path.glob(".temporary-*")))
    killed.kill()
    assert (tmp_path / "out.csv").read_text() == "before"
    assert vit.run(tmp_path, command).code == 0
    assert len(rows((tmp_path / "out.csv").read_text())) == 200


def test_an_interrupted_one_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "pictures", 2)
    command = [VIT, "predict", str(model), "pictures", "-", "--output", "out.csv", "--format", "csv"]
    # What a shell starts in the background ignores interrupts, and so does what that starts.
    listening = (
        "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", listening, *command],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not any(tmp_path.glob(".temporary-*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name pictures"),
        (["pictures", "--top-k", "0"], 2, "--top-k is 0"),
        (["pictures", "--format", "parquet"], 2, "--output"),
        (["pictures", "--output", "no/where.csv"], 2, "there is no folder no"),
        (["pictures", "--output", "table.xlsx"], 2, "--output ends with .xlsx: choose .csv"),
        (["pictures", "--output", "empty"], 2, "empty is a folder"),
        (["pictures", "--features", "f.csv"], 2, ".npz"),
        (["empty"], 3, "has no pictures"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_message(
    vit: Vit, model: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    save_photographs(tmp_path / "pictures", 1)
    (tmp_path / "empty").mkdir()
    finished = vit.run(tmp_path, ["predict", str(model), *arguments])
    assert finished.code == code
    assert finished.errors.startswith("vit: ")
    assert message in finished.errors
    assert "Traceback" not in finished.errors
    assert not list(tmp_path.glob("*.npz")) + list(tmp_path.glob(".temporary-*"))


def test_a_model_that_is_none_is_told(vit: Vit, tmp_path: Path) -> None:
    save_photographs(tmp_path / "pictures", 1)
    finished = vit.run(tmp_path, ["predict", "nothing", "pictures"])
    assert (finished.code, finished.errors.count("\n")) == (2, 1)
    assert "there is no model nothing" in finished.errors


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_the_ending_of_the_output_says_the_format(vit: Vit, model: Path, tmp_path: Path, format: str) -> None:
    save_photographs(tmp_path / "pictures", 2)
    predict(vit, tmp_path, model, ["pictures", "--output", f"named.{format}"])
    predict(vit, tmp_path, model, ["pictures", "--output", "asked", "--format", format])
    assert (tmp_path / f"named.{format}").read_bytes() == (tmp_path / "asked").read_bytes()
