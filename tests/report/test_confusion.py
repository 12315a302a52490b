"""Who reads a confusion matrix reads truth by guess, and shares of the true class."""

import numpy as np
import pytest

from vision_transformers.report.confusion import confusion_figure, most_confused, pairs_of
from vision_transformers.report.style import LIGHT

CONFUSION = np.array([[3, 1, 0], [0, 4, 0], [2, 0, 8]])
PERCENT = np.array([[75, 25, 0], [0, 100, 0], [20, 0, 80]])


@pytest.mark.parametrize(("normalised", "numbers"), [(False, CONFUSION), (True, PERCENT)])
def test_a_matrix_has_truth_in_rows_and_shares_of_the_true_class(
    normalised: bool, numbers: np.ndarray
) -> None:
    (axes,) = confusion_figure(CONFUSION, ["a", "b", "c"], normalised, LIGHT).axes
    shown = axes.images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(shown, PERCENT / 100)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(column, row): str(numbers[row, column]) for row, column in np.argwhere(CONFUSION)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("guess", "truth")


def test_the_share_of_a_confused_pair_is_of_the_true_class() -> None:
    """Classes of different sizes tell it from a share of the guesses."""
    pairs = most_confused(pairs_of(CONFUSION), ["a", "b", "c"], 5)
    found = [(pair.truth, pair.guess, pair.count, pair.share) for pair in pairs]
    assert found == [("c", "a", 2, 0.2), ("a", "b", 1, 0.25)]
