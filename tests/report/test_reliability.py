"""A reliability diagram shows how often guesses are right where the model is how sure."""

from vision_transformers.report.reliability import reliability_figure
from vision_transformers.report.style import LIGHT


def test_bars_are_accuracies_and_lines_are_confidences_of_their_own_intervals() -> None:
    """Without a line where there is no image."""
    before = [
        {"count": 0, "confidence": 0.0, "accuracy": 0.0},
        {"count": 2, "confidence": 0.6, "accuracy": 0.5},
    ]
    after = [
        {"count": 1, "confidence": 0.3, "accuracy": 1.0},
        {"count": 1, "confidence": 0.7, "accuracy": 0.0},
    ]
    left, right, *_ = reliability_figure(before, after, LIGHT).axes
    assert [(bar.get_x(), bar.get_height()) for bar in left.patches] == [(0.0, 0.0), (0.5, 0.5)]
    (lines,) = left.collections
    assert [segment.tolist() for segment in lines.get_segments()] == [[[0.5, 0.6], [1.0, 0.6]]]
    assert [bar.get_height() for bar in right.patches] == [1.0, 0.0]


def test_a_histogram_counts_the_images_of_each_interval() -> None:
    bins = [
        {"count": 3, "confidence": 0.4, "accuracy": 0.5},
        {"count": 20, "confidence": 0.9, "accuracy": 0.5},
    ]
    _, histogram = reliability_figure(bins, None, LIGHT).axes
    assert [bar.get_height() for bar in histogram.patches] == [3, 20]
