"""The picture of a run can be drawn from whatever the run has measured."""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from vision_transformers.errors import Failure
from vision_transformers.report.curves import curves_figure, draw_curves
from vision_transformers.report.metrics import Row
from vision_transformers.report.style import LIGHT

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


def lines_of_a_run() -> list[Row]:
    """A hundred steps of ten epochs, whose training curves are straight lines."""
    rows: list[Row] = [
        {"step": step, "epoch": step / 10, "train_loss": 3 - step / 100, "train_accuracy": step / 200}
        for step in range(1, 101)
    ]
    rows[49].update(validation_loss=1.5, validation_accuracy=0.75)
    rows[99].update(validation_loss=1.25, validation_accuracy=0.5)
    return rows


@pytest.mark.parametrize(
    ("place", "measurement", "validation", "legend"),
    [
        (0, "loss", [1.5, 1.25], ["train 2.0000", "validation 1.2500"]),
        (1, "accuracy", [0.75, 0.5], ["train 50.00%", "validation 50.00%"]),
    ],
)
def test_curves_are_what_was_measured_and_the_legend_has_the_last_values(
    place: int, measurement: str, validation: list[float], legend: list[str]
) -> None:
    rows = lines_of_a_run()
    axes = curves_figure(rows, "digits", LIGHT).axes[place]
    raw, smooth, judged = ([*map(np.asarray, line.get_data())] for line in axes.get_lines())
    values = np.array([row[f"train_{measurement}"] for row in rows])
    np.testing.assert_array_equal(raw, [np.arange(1, 101), values])
    np.testing.assert_array_equal(judged, [[50, 100], validation])
    np.testing.assert_allclose(smooth[1][5:-5], values[5:-5])  # the mean of a line's neighbours is the line
    assert smooth[1][0] == pytest.approx(values[:3].mean())
    drawn = axes.get_legend()
    assert drawn is not None
    assert [text.get_text() for text in drawn.get_texts()] == legend


def test_epochs_are_marked_at_their_steps() -> None:
    loss, _ = curves_figure(lines_of_a_run(), "digits", LIGHT).axes
    names = [label.get_text() for label in loss.get_xticklabels()]
    assert len(names) > 2
    assert loss.get_xticks().tolist() == pytest.approx([10 * float(name) for name in names])


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
