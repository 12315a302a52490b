"""Whether a model is better than another is told as statisticians tell it."""

import pytest
import torch
from scipy.stats import binomtest

from vision_transformers.evaluation.paired import PairedAccuracy


def test_images_are_counted_by_who_gets_them_right() -> None:
    classifier = torch.tensor([True, True, True, False, False, False, True])
    baseline = torch.tensor([True, False, False, True, False, False, True])
    paired = PairedAccuracy.of(classifier, baseline)
    assert paired == PairedAccuracy(both=2, gained=2, lost=1, neither=2)
    assert paired.images == 7
    assert paired.difference == pytest.approx(4 / 7 - 3 / 7)


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (0, 5), (10, 3), (7, 7), (120, 90), (4_000, 3_700)]
)
def test_the_p_value_is_that_of_an_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert PairedAccuracy(10, gained, lost, 5).p_value == pytest.approx(expected, rel=1e-9)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    """95 of 100, of classifiers that agree often and of ones that seldom do; a little more is no harm."""
    generator = torch.Generator().manual_seed(0)
    for shares in ((0.8, 0.08, 0.05, 0.07), (0.93, 0.03, 0.01, 0.03), (0.4, 0.3, 0.2, 0.1)):
        drawn = torch.multinomial(torch.tensor(shares), 2_000 * 300, replacement=True, generator=generator)
        counts = torch.nn.functional.one_hot(drawn.view(2_000, 300), 4).sum(dim=1).tolist()
        intervals = [PairedAccuracy(*row).interval for row in counts]
        covered = sum(lower <= shares[1] - shares[2] <= upper for lower, upper in intervals) / len(intervals)
        assert 0.935 <= covered <= 0.985


def test_the_interval_stays_within_what_can_be() -> None:
    assert PairedAccuracy(0, 3, 0, 0).interval[1] == 1
    assert PairedAccuracy(0, 0, 3, 0).interval[0] == -1
    lower, upper = PairedAccuracy(50, 0, 0, 0).interval
    assert lower == -upper < 0
