"""`vit benchmark` measures anybody's model, and says what is wrong in words."""

import json
from pathlib import Path

import pytest

from vision_transformers.cli.main import main
from vision_transformers.runtime import precision


def test_it_prints_a_row_for_each_way_and_writes_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    ways = ["--batch-size", "1", "3", "--precision", "float32", "--work", "inference", "training"]
    code = main(["benchmark", "MNIST", *ways, "--seconds", "0", "--output", str(file), "--device", "cpu"])
    assert code == 0
    printed = capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [(row["work"], row["batch_size"]) for row in rows] == [
        ("inference", 1),
        ("inference", 3),
        ("training", 1),
        ("training", 3),
    ]
    for row in rows:
        assert f"{row['images_per_second']:,.1f}" in printed


@pytest.mark.parametrize("is_native", [True, False])
def test_nobody_waits_for_numbers_that_a_processor_emulates(
    is_native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_instructions", lambda _: is_native)
    file = tmp_path / "speed.json"
    ways = ["--batch-size", "1", "--seconds", "0", "--output", str(file), "--device", "cpu"]
    assert main(["benchmark", "MNIST", *ways]) == 0
    measured = [row["precision"] for row in json.loads(file.read_text())["rows"]]
    assert measured == ["float32", "bfloat16"][: 1 + is_native]


def test_rows_that_were_measured_are_kept_when_the_next_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    ways = ["--batch-size", "1", str(2**50), "--precision", "float32", "--seconds", "0", "--device", "cpu"]
    assert main(["benchmark", "MNIST", *ways, "--output", str(file)]) != 0
    assert "--batch-size" in capsys.readouterr().err
    assert [row["batch_size"] for row in json.loads(file.read_text())["rows"]] == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MNIST", "--batch-size", "0"], "1 or more"),
        (["MNIST", "--work"], "--work has no values"),
        (["MNIST", "--precision"], "--precision has no values"),
        (["no-such-model"], "no-such-model"),
        (["ViT-S/17"], "did you mean 'ViT-S/16'?"),
        (["MNIST", "--seconds", "-1"], "--seconds is -1.0: expected 0 or more"),
        (["MNIST", "--output", "no/such/folder/file.json"], "there is no folder no/such/folder"),
        (["MNIST", "--output", "/proc/file.json"], "/proc/file.json cannot be written"),
        (["MNIST", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *arguments]) != 0
    assert message in capsys.readouterr().err
