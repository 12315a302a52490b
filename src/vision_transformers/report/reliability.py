"""The reliability diagram: does a guess that is 80 % sure come true in 80 of 100 images?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from vision_transformers.report.style import Palette

Bins = Sequence[Mapping[str, int | float]]
"""For each interval of confidence, `count`, and the means `confidence` and `accuracy` of its images."""


def reliability_figure(before: Bins, after: Bins | None, palette: Palette) -> Figure:
    """Accuracy by confidence (DeGroot and Fienberg 1983), without the temperature and, if given, with it."""
    panels = [("without temperature", before), *([("at the temperature", after)] if after else [])]
    figure = Figure(figsize=(4.6 * len(panels), 5.2), dpi=150, layout="constrained")
    grid = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[3, 1])
    for (title, bins), diagram, histogram in zip(panels, *grid, strict=True):
        _draw_diagram(diagram, bins, palette)
        _draw_histogram(histogram, bins, palette)
        diagram.set_title(title)
    return figure


def _draw_diagram(axes: Axes, bins: Bins, palette: Palette) -> None:
    """Bars up to the accuracy, and a line at the confidence; where they meet, the model is calibrated."""
    edges, width = _edges(bins)
    filled = np.array([one["count"] > 0 for one in bins])
    accuracy = np.array([one["accuracy"] for one in bins])
    confidence = np.array([one["confidence"] for one in bins])[filled]
    blue, orange = palette.series[:2]
    axes.plot([0, 1], [0, 1], color=palette.muted, linestyle=(0, (4, 4)), linewidth=1)
    axes.bar(edges, accuracy, width, align="edge", color=blue, edgecolor=palette.paper, label="right")
    axes.hlines(
        confidence, edges[filled], edges[filled] + width, color=orange, linewidth=2.5, label="as sure (mean)"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share of images that are right")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.legend(loc="upper left")


def _draw_histogram(axes: Axes, bins: Bins, palette: Palette) -> None:
    """How many images there are at each confidence, in powers of ten."""
    edges, width = _edges(bins)
    counts = [one["count"] for one in bins]
    axes.bar(edges, counts, width, align="edge", color=palette.frame, edgecolor=palette.paper)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0.5)
    axes.set_ylabel("images")
    axes.set_xlabel("confidence of the guess")
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))


def _edges(bins: Bins) -> tuple[np.ndarray, float]:
    return np.arange(len(bins)) / len(bins), 1 / len(bins)
