"""What the weights of a small model are like is seen whole."""

import numpy as np

from vision_transformers.report import weights_figure
from vision_transformers.report.style import LIGHT


def test_no_head_lies_on_the_border_and_the_drawings_begin_at_one_height() -> None:
    """Of two layers whose heads all look equally far, the points would be cut in half."""
    filters, similarity = np.zeros((4, 1, 4, 4)), np.ones((4, 4, 4, 4))
    distances = np.array([[3.7, 4.0], [4.2, 4.2]])
    figure = weights_figure._figure(filters, similarity, distances, "crops", LIGHT)
    figure.draw_without_rendering()
    left, middle, right = figure.axes[:3]
    assert right.get_ylim()[1] > 1.05 * distances.max()
    tops = [axes.get_position().y1 for axes in (left, middle, right)]
    np.testing.assert_allclose(tops, tops[0], atol=0.01)
