"""The picture of a run: loss and accuracy over its steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from vision_transformers.files import write_file
from vision_transformers.report.metrics import Row
from vision_transformers.report.style import Palette, on_one_line, render_png

_SPLITS = ("train", "validation", "test")
_MARKERS = ("o", "s", "D")
_LONGEST_TITLE = 100
_FEW = 40
"""Up to so many points are marked one by one."""


def draw_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draws loss and accuracy of what was evaluated (train, validation, test), as PNG.

    Equal rows give equal bytes, whatever the person's own matplotlib settings are.

    Raises:
        Failure: The picture cannot be written.
    """
    write_file(path, render_png(lambda palette: curves_figure(rows, title, palette)))


def curves_figure(rows: Sequence[Row], title: str, palette: Palette) -> Figure:
    """The figure of `draw_curves`, for `report.style.render_png`."""
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    figure.suptitle(on_one_line(title, _LONGEST_TITLE), x=0.012, ha="left", fontsize=13, fontweight="bold")
    loss, accuracy = figure.subplots(1, 2, sharex=True)
    _draw_panel(loss, rows, "loss", "{:.4f}", palette)
    _draw_panel(accuracy, rows, "accuracy", "{:.2%}", palette)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    _label_steps(loss, accuracy, rows)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], measurement: str, number: str, palette: Palette) -> None:
    """Draws one measurement of every split, with the last value in the legend."""
    axes.set_title(measurement.capitalize())
    for place, split in enumerate(_SPLITS):
        steps, values = _series(rows, f"{split}_{measurement}")
        if len(steps):
            label = f"{split} {number.format(values[-1])}"
            _draw_curve(axes, place, steps, values, label, palette)
    if axes.lines:
        axes.legend(loc="best")
    else:
        axes.text(
            0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=palette.muted
        )
        axes.grid(visible=False)
        axes.set_yticks([])


def _draw_curve(
    axes: Axes,
    place: int,
    steps: Float[np.ndarray, " points"],
    values: Float[np.ndarray, " points"],
    label: str,
    palette: Palette,
) -> None:
    """Marks each point of a short curve; shows through the noise of a long one of single batches."""
    color = palette.series[place]
    if len(steps) <= _FEW:
        axes.plot(steps, values, color=color, marker=_MARKERS[place], markersize=6, label=label)
    elif _SPLITS[place] == "train":
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smooth(values), color=color, label=label)
        note = "bold: mean of neighbouring points"
        axes.set_title(note, loc="right", fontsize=8, fontweight="normal", color=palette.muted)
    else:
        axes.plot(steps, values, color=color, label=label)


def _series(
    rows: Sequence[Row], key: str
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Steps and values of one curve; a value that is not finite has no place on paper."""
    points = np.array([(row["step"], row[key]) for row in rows if key in row], dtype=float).reshape(-1, 2)
    steps, values = points[np.isfinite(points[:, 1])].T
    return steps, values


def _smooth(values: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The mean of each point's neighbourhood, a fortieth of the curve, cut off at its ends."""
    window = np.ones(2 * (len(values) // 80) + 3)
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def _label_steps(loss: Axes, accuracy: Axes, rows: Sequence[Row]) -> None:
    """Marks whole epochs on the axis of steps, or steps where there are none."""
    step_at = {0: 0} | {row["epoch"]: row["step"] for row in rows if "epoch" in row}
    last_epoch = max(step_at)
    locator = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10])
    loss.set_xlim(left=0)
    loss.xaxis.set_major_locator(locator)
    loss.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    label = "step"
    if last_epoch >= 1:
        epochs = [epoch for epoch in locator.tick_values(0, last_epoch) if epoch <= last_epoch]
        known = sorted(step_at)
        ticks = np.interp(epochs, known, [step_at[epoch] for epoch in known])
        loss.set_xticks(ticks, [f"{epoch:g}" for epoch in epochs])
        label = f"epoch ({rows[-1]['step']:,} steps)"
    loss.set_xlabel(label)
    accuracy.set_xlabel(label)
