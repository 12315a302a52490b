"""The picture of a run can be drawn from whatever the run has measured."""

import math
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from vision_transformers.errors import Failure
from vision_transformers.report.curves import draw_curves
from vision_transformers.report.metrics import Row

BACKGROUND, VALIDATION, TEST = (255, 255, 255), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)


def rows_of_a_run(steps: int = 60) -> list[Row]:
    rows: list[Row] = [
        {"step": step, "epoch": step / 10, "train_loss": 2 / step, "train_accuracy": 1 - 1 / step}
        for step in range(1, steps + 1)
    ]
    for row in rows[9::10]:
        row.update(validation_loss=3 / row["step"], validation_accuracy=1 - 2 / row["step"])
    rows[-1].update(test_loss=0.1, test_accuracy=0.9)
    return rows


def colors(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        counted = image.convert("RGB").getcolors(image.width * image.height)
    return {color for _, color in counted}


def test_every_split_that_was_evaluated_is_drawn(tmp_path: Path) -> None:
    draw_curves(rows_of_a_run(), tmp_path / "curves.png", "digits")
    assert {BACKGROUND, VALIDATION, TEST} <= colors(tmp_path / "curves.png")


def test_a_split_that_was_not_evaluated_is_not_drawn(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("step", "epoch", "train_loss")} for row in rows_of_a_run()]
    draw_curves(rows, tmp_path / "curves.png", "digits")
    assert not {VALIDATION, TEST} & colors(tmp_path / "curves.png")


def test_equal_rows_give_equal_bytes_whatever_the_settings(tmp_path: Path) -> None:
    draw_curves(rows_of_a_run(), tmp_path / "first.png", "digits")
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 10, "axes.facecolor": "black"}):
        draw_curves(rows_of_a_run(), tmp_path / "second.png", "digits")
        assert mpl.rcParams["font.size"] == 30
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert b"Software" not in (tmp_path / "first.png").read_bytes()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        rows_of_a_run()[:1],
        rows_of_a_run()[-1:],
        [{"step": 0, "train_loss": 2.3}],
        [{"step": 7, "test_accuracy": 1.0}],
        [{"step": 1, "epoch": 0, "train_loss": math.nan}, {"step": 2, "epoch": 0, "train_loss": math.inf}],
        [{"step": step, "epoch": 2, "train_loss": 1.0} for step in range(1, 100)],
    ],
    ids=["nothing", "first row", "last row", "step 0", "test only", "not finite", "flat, one epoch"],
)
def test_a_run_that_ended_early_still_has_a_picture(tmp_path: Path, rows: list[Row]) -> None:
    draw_curves(rows, tmp_path / "curves.png", "digits")
    assert BACKGROUND in colors(tmp_path / "curves.png")


def test_a_name_that_would_be_a_broken_formula_does_not_keep_a_run_from_its_end(tmp_path: Path) -> None:
    draw_curves(rows_of_a_run(), tmp_path / "curves.png", r"cost$\x$, seed 0")
    assert (tmp_path / "curves.png").exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"plots/curves\.png"):
        draw_curves([], tmp_path / "plots" / "curves.png", "digits")
