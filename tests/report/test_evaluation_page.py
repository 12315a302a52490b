"""The page of an evaluation shows what was measured, opens from the disk, and runs no foreign code."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.browser import open_browser, opened_page

from vision_transformers.cli.evaluation_folder import check_output
from vision_transformers.evaluation import scores as scores_of_sums
from vision_transformers.evaluation.scores import scores
from vision_transformers.evaluation.sums import EvaluationSums
from vision_transformers.prediction import Guess
from vision_transformers.report.confusion import most_confused, pairs_of
from vision_transformers.report.evaluation_page import write_evaluation
from vision_transformers.report.judged_pictures import JudgedPicture
from vision_transformers.report.specimens import THUMBNAIL, Galleries, Specimen, specimen_sheet

EVIL = "<script>document.title = 'broken in'</script>"
NAMES = (EVIL, 'a"b&c', "two\nlines", "$x$", "größe", "not\udcffutf8", "seven", "eight")
MANY = tuple(f"class {number}" for number in range(31))
"""Too many for a matrix."""
CURVES = [
    {"step": step, "epoch": step / 10, "train_loss": 1 / step, "train_accuracy": 0.5} for step in (10, 20)
]
ORIGIN = {"recipe": "digits, seed 0", "command": f"vit train {EVIL}", "every field": '{\n  "epochs": 3\n}'}


def metrics(
    classes: tuple[str, ...] = NAMES, temperature: float | None = 1.7, without_images: int = 0
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, len(classes) - without_images, (400,), generator=generator)
    logits = torch.randn(400, len(classes), generator=generator)
    logits[torch.arange(400), labels] += 2
    return {
        "format_version": 1,
        "model": "runs/one",
        "data": "pets",
        "split": "test",
        "origin": "pets in a folder",
        **scores(EvaluationSums.of(logits, labels, temperature), classes, temperature),
        "images_per_second": 123.4,
        "batch_size": 64,
        "precision": "float32",
        "device": "cpu",
    }


def specimens(count: int, side: int = 28, channels: int = 1) -> tuple[Specimen, ...]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return tuple(
        Specimen(picture, f"{EVIL}/{place}.jpg", NAMES[place % 8], NAMES[(place + 1) % 8], 0.9 - place / 100)
        for place, picture in enumerate(pixels)
    )


def galleries() -> Galleries:
    return Galleries(specimens(5), specimens(3, 100, 3), specimens(2, 8))


def written(folder: Path, values: dict[str, Any], pictures: Galleries, curves: list[Any]) -> str:
    folder.mkdir(exist_ok=True)
    write_evaluation(
        folder, values, pictures, [JudgedPicture(EVIL, "cat", Guess("=dog", 1, 0.5))], curves, ORIGIN
    )
    return (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything; nobody changes it."""
    folder = tmp_path_factory.mktemp("report")
    written(folder, metrics(MANY), Galleries((), (), ()), [])  # whose place it takes
    written(folder, metrics(), galleries(), CURVES)
    return folder


class Outside(HTMLParser):
    """Collects whatever a page would fetch, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data") and not (value or "").startswith("data:"):
                self.fetched.append(f"{tag} {name}={value}")


def test_it_fetches_nothing_and_runs_no_name(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    page = Outside()
    page.feed(text)
    assert page.fetched == []
    assert page.scripts == 1
    assert "url(" not in text
    assert "@import" not in text
    assert "a&#34;b&amp;c" in text


def test_its_numbers_are_those_of_metrics_json(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    values = json.loads((folder / "metrics.json").read_text())
    assert values == metrics()
    for share in (values["top_1"]["accuracy"], values["top_5"]["accuracy"], values["macro"]["f1"]):
        assert f"{100 * share:.2f} %" in text
    assert f"{100 * values['top_1']['lower']:.2f} % to {100 * values['top_1']['upper']:.2f} %" in text
    assert f"{values['loss']:.4f}" in text
    assert f"{100 * values['calibration']['error_after']:.2f} %" in text
    rows = re.findall(r'<td data-value="([\d.]+)">', text)
    for row in values["per_class"]:
        assert {str(row["precision"]), str(row["recall"]), str(row["f1"])} <= set(rows)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("classes", [3, 30, 31])
def test_many_classes_are_pairs_and_few_a_matrix(tmp_path: Path, classes: int) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    text = written(tmp_path, metrics(names), Galleries((), (), ()), [])
    assert (tmp_path / "confusion.png").exists() == (classes <= 30)
    assert ("Confusion matrix" in text) == (classes <= 30)
    assert text.count("of the true class") >= 1
    assert ("top-5" in text) == (classes > 5)


@pytest.mark.usefixtures("undrawn")
def test_thousands_of_classes_are_the_pairs_that_occur(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = np.array(metrics(MANY)["confusion"])
    monkeypatch.setattr(scores_of_sums, "LARGEST_MATRIX", 30)
    values = metrics(MANY)
    assert "confusion" not in values
    assert values["confusion_pairs"] == pairs_of(matrix).tolist()
    assert "of the true class" in written(tmp_path, values, Galleries((), (), ()), [])
    assert json.loads((tmp_path / "metrics.json").read_text()) == values


def test_an_evaluation_that_dies_while_it_is_drawn_leaves_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no whole evaluation would be taken for another program's, and refused the next time."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vision_transformers.report.evaluation_page.render_for_a_page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, metrics(), galleries(), CURVES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_that_dies_while_it_is_written_says_whose_it_was_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can be begun anew, and one that it was to replace is not taken for whole."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    asked = metrics() | {"format_version": 1, "places": {"model": "here", "data": "there"}}
    written(tmp_path, asked, galleries(), CURVES)
    monkeypatch.setattr("vision_transformers.report.evaluation_page.write_judged_pictures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, asked, galleries(), CURVES)
    left = json.loads((tmp_path / "metrics.json").read_text())
    assert left == {"format_version": 1, "places": {"model": "here", "data": "there"}}
    check_output(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_what_there_is_none_of_is_said(tmp_path: Path) -> None:
    text = written(tmp_path, metrics(temperature=None, without_images=1), Galleries((), (), ()), [])
    assert text.count("There are none.") == 2
    assert "None was found." in text
    assert "the model has no temperature" in text
    assert "How it was learned" not in text
    assert not (tmp_path / "mistakes.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_baseline_stands_beside_with_what_was_gained_and_lost(tmp_path: Path) -> None:
    baseline = {
        "model": EVIL,
        "top_1": {"accuracy": 0.8, "lower": 0.75, "upper": 0.85},
        "both_right": 310,
        "gained": 40,
        "lost": 10,
        "neither_right": 1_040,
        "difference": {"accuracy": 0.075, "lower": -0.01, "upper": 0.1},
        "p_value": 0.04321,
        "warning": "it was trained on them",
    }
    gained = tuple(replace(one, baseline="eight") for one in specimens(2))
    text = written(tmp_path, metrics() | {"baseline": baseline}, replace(galleries(), gained=gained), [])
    for expected in ("+7.50 points", "-1.00 to +10.00", "p = 0.043", "1,040", "it was trained on them"):
        assert expected in text
    assert text.count(">eight</b>") >= 2
    assert EVIL not in text
    assert (tmp_path / "gained.png").exists()
    assert "Nothing." in text


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_an_earlier_report_that_tell_of_others_go_and_a_persons_own_stay(tmp_path: Path) -> None:
    written(tmp_path, metrics(), galleries(), CURVES)
    (tmp_path / "mine.png").write_bytes(b"of another program")
    written(tmp_path, metrics(MANY), Galleries((), (), ()), [])
    assert {path.name for path in tmp_path.glob("*.png")} == {"reliability.png", "mine.png"}


def test_pictures_are_written_and_not_blank(folder: Path) -> None:
    names = {path.name for path in folder.glob("*.png")}
    assert names == {
        "confusion.png",
        "confusion-normalised.png",
        "reliability.png",
        "curves.png",
        "mistakes.png",
        "uncertain.png",
        "label-errors.png",
    }
    for name in names:
        with Image.open(folder / name) as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_tensorboard_reads_what_was_written(folder: Path) -> None:
    board = EventAccumulator(str(folder))
    board.Reload()
    accuracy = metrics()["top_1"]["accuracy"]
    assert [event.value for event in board.Scalars("evaluation/accuracy")] == [pytest.approx(accuracy)]
    assert set(board.Tags()["images"]) >= {"evaluation/confusion", "evaluation/mistakes"}
    encoded = board.Images("evaluation/mistakes")[0].encoded_image_string
    assert Image.open(io.BytesIO(encoded)).size == Image.open(folder / "mistakes.png").size


def test_equal_evaluations_are_equal_pages(folder: Path, tmp_path: Path) -> None:
    assert written(tmp_path, metrics(), galleries(), CURVES) == (folder / "index.html").read_text()


def test_the_most_confused_pairs_come_first() -> None:
    confusion = np.array([[5, 3, 0], [1, 9, 0], [4, 0, 4]])
    pairs = most_confused(pairs_of(confusion), ("a", "b", "c"), 2)
    assert [(pair.truth, pair.guess, pair.count) for pair in pairs] == [("c", "a", 4), ("a", "b", 3)]
    assert pairs[0].share == 0.5
    assert most_confused(pairs_of(np.diag([3, 4])), ("a", "b"), 5) == []


def test_pictures_of_different_sizes_lie_on_one_sheet() -> None:
    mixed = (*specimens(1, 28), *specimens(1, THUMBNAIL, 3), *specimens(1, 5))
    assert specimen_sheet(mixed).shape[2] == 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from open_browser()


@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_whole(browser: Any, folder: Path, width: int, scheme: str) -> None:
    with opened_page(browser, folder / "index.html", width, scheme) as page:
        assert page.title() == "runs/one on pets test"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
        )
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_table_is_sorted_with_the_keyboard(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    table = page.get_by_role("region", name="Scores of each class")
    table.get_by_role("button", name="recall").focus()
    page.keyboard.press("Enter")
    values = [
        float(cell.get_attribute("data-value")) for cell in table.locator("tbody td:nth-child(3)").all()
    ]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")
    values = [
        float(cell.get_attribute("data-value")) for cell in table.locator("tbody td:nth-child(3)").all()
    ]
    assert values == sorted(values)
    page.close()
