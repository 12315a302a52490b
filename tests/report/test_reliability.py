"""A reliability diagram shows how often guesses are right where the model is how sure."""

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from vision_transformers.report.reliability import reliability_figure
from vision_transformers.report.style import LIGHT

BEFORE = [
    {"count": 0, "confidence": 0.0, "accuracy": 0.0},
    {"count": 20, "confidence": 0.6, "accuracy": 0.5},
]
AFTER = [
    {"count": 1, "confidence": 0.3, "accuracy": 1.0},
    {"count": 19, "confidence": 0.7, "accuracy": 0.0},
]


def bars(axes: Axes) -> list[tuple[float, float]]:
    """Where each begins, and how high it is."""
    return [(bar.get_x(), bar.get_height()) for bar in axes.patches if isinstance(bar, Rectangle)]


def test_bars_are_accuracies_and_lines_are_confidences_of_their_own_intervals() -> None:
    """Without a line where there is no image."""
    left, right, *_ = reliability_figure(BEFORE, AFTER, LIGHT).axes
    assert bars(left) == [(0.0, 0.0), (0.5, 0.5)]
    assert bars(right) == [(0.0, 1.0), (0.5, 0.0)]
    (lines,) = left.collections
    assert isinstance(lines, LineCollection)
    assert [segment.tolist() for segment in lines.get_segments()] == [[[0.5, 0.6], [1.0, 0.6]]]


def test_a_histogram_below_counts_the_images_of_each_interval() -> None:
    _, _, left, right = reliability_figure(BEFORE, AFTER, LIGHT).axes
    assert bars(left) == [(0.0, 0), (0.5, 20)]
    assert bars(right) == [(0.0, 1), (0.5, 19)]
