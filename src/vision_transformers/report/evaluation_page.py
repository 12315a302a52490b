"""What a model is worth, on one page: numbers, confusion, calibration, and the pictures it fails on."""

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vision_transformers.files import write_file, write_json
from vision_transformers.report.confusion import MOST_CLASSES, confusion_figure, most_confused, pairs_of
from vision_transformers.report.curves import curves_figure
from vision_transformers.report.judged_pictures import JudgedPicture, write_judged_pictures
from vision_transformers.report.metrics import Row
from vision_transformers.report.page import fill_template, inline_drawing, picture_uri
from vision_transformers.report.reliability import reliability_figure
from vision_transformers.report.sheet import encode_png
from vision_transformers.report.specimens import Galleries, Specimen, specimen_sheet
from vision_transformers.report.style import Drawing, render_for_a_page
from vision_transformers.report.tensorboard import TensorBoard

_SCALARS = ("accuracy", "loss", "macro_f1", "expected_calibration_error")
_FEW_CONFUSED = 10
_PICTURES = (
    *("reliability.png", "confusion.png", "confusion-normalised.png", "curves.png"),
    *("mistakes.png", "uncertain.png", "label-errors.png", "gained.png", "lost.png"),
)
"""All that there may be."""


def write_evaluation(
    folder: Path,
    metrics: Mapping[str, Any],
    galleries: Galleries,
    judged: Iterable[JudgedPicture],
    curves: Sequence[Row],
    origin: Mapping[str, str],
) -> None:
    """Writes the page, its pictures, `predictions.csv`, TensorBoard's events and `metrics.json`.

    Args:
        folder: is there; a report that it held is written over.
        metrics: as `metrics.json` stores them, last of all; it says first whose evaluation this will be, so
            that one that is interrupted can be begun anew.
        galleries: the pictures to show; what there is none of gets no file.
        judged: every picture, a row for each.
        curves: rows of the run's `metrics.jsonl`; empty where the model is of no run.
        origin: how the model was made, for people; values of several lines are folded.

    Raises:
        Failure: a file cannot be written.
    """
    drawings = _drawings(metrics, curves)
    pictures = {f"{name}.png": drawing.png for name, (drawing, _) in drawings.items()}
    for name, specimens in _named(galleries).items():
        if specimens:
            pictures[f"{name}.png"] = encode_png(specimen_sheet(specimens))
    begun = {name: value for name, value in metrics.items() if name in ("format_version", "places")}
    write_json(folder / "metrics.json", begun)
    for name in _PICTURES:
        if name not in pictures:  # an earlier report's would be taken for this one's
            (folder / name).unlink(missing_ok=True)
    for name, content in pictures.items():
        write_file(folder / name, content)
    write_judged_pictures(folder / "predictions.csv", judged)
    write_file(folder / "index.html", _page(metrics, galleries, drawings, origin))
    _write_events(folder, metrics, pictures)
    write_json(folder / "metrics.json", metrics)


def _drawings(metrics: Mapping[str, Any], curves: Sequence[Row]) -> dict[str, tuple[Drawing, str]]:
    """Each drawing by its name, with what it says in words."""
    calibration = metrics["calibration"]
    after = calibration.get("reliability_after")
    drawings: dict[str, tuple[Drawing, str]] = {
        "reliability": (
            render_for_a_page(partial(reliability_figure, calibration["reliability"], after)),
            _reliability_in_words(calibration),
        )
    }
    if len(metrics["classes"]) <= MOST_CLASSES:
        matrix = partial(confusion_figure, np.array(metrics["confusion"]), metrics["classes"])
        words = "Confusion matrix, truth by guess; the pairs that are mistaken most are listed in words."
        drawings["confusion"] = (render_for_a_page(partial(matrix, False)), words)
        drawings["confusion-normalised"] = (render_for_a_page(partial(matrix, True)), words)
    if curves:
        words = "Loss and accuracy of training, validation and test over the run."
        drawings["curves"] = (render_for_a_page(partial(curves_figure, curves, "The run")), words)
    return drawings


def _reliability_in_words(calibration: Mapping[str, Any]) -> str:
    words = f"Reliability diagram: expected calibration error {calibration['error']:.2%}"
    if "error_after" in calibration:
        words += f", at the temperature {calibration['error_after']:.2%}"
    return f"{words}."


def _page(
    metrics: Mapping[str, Any],
    galleries: Galleries,
    drawings: Mapping[str, tuple[Drawing, str]],
    origin: Mapping[str, str],
) -> bytes:
    many = len(metrics["classes"]) > MOST_CLASSES
    # Of very many classes the pairs stand in the place of the matrix.
    pairs = (
        np.array(metrics["confusion_pairs"])
        if "confusion_pairs" in metrics
        else pairs_of(np.array(metrics["confusion"]))
    )
    confused = most_confused(pairs, metrics["classes"], MOST_CLASSES if many else _FEW_CONFUSED)
    return fill_template(
        "evaluation.html",
        metrics=metrics,
        galleries=_named(galleries),
        drawings={name: inline_drawing(drawing, words) for name, (drawing, words) in drawings.items()},
        confused=confused,
        origin=origin,
        picture_uri=picture_uri,
    )


def _named(galleries: Galleries) -> dict[str, tuple[Specimen, ...]]:
    return {
        "mistakes": galleries.mistakes,
        "uncertain": galleries.uncertain,
        "label-errors": galleries.label_errors,
        "gained": galleries.gained,
        "lost": galleries.lost,
    }


def _write_events(folder: Path, metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
    """The scalars and pictures for `tensorboard --logdir`, in place of those of an earlier evaluation."""
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    values = (
        metrics["top_1"]["accuracy"],
        metrics["loss"],
        metrics["macro"]["f1"],
        metrics["calibration"]["error"],
    )
    board = TensorBoard(folder)
    row = {f"evaluation/{name}": value for name, value in zip(_SCALARS, values, strict=True)}
    board.scalars({"step": 0, **row})
    for name, content in pictures.items():
        board.image(f"evaluation/{name.removesuffix('.png')}", _pixels(content), 0)
    board.close()


def _pixels(png: bytes) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
