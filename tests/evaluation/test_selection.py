"""A person is shown the pictures that say most first."""

import torch

from vision_transformers.evaluation.judgement import Judgement
from vision_transformers.evaluation.selection import least_certain, won_from, worst_mistakes
from vision_transformers.evaluation.sums import EvaluationSums

PROBABILITIES = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45]])


def test_the_surest_mistake_comes_first() -> None:
    assert worst_mistakes(PROBABILITIES, torch.tensor([1, 1, 0, 0]), 10).tolist() == [0, 2]
    assert worst_mistakes(PROBABILITIES, torch.tensor([1, 0, 0, 1]), 2).tolist() == [0, 2]
    assert worst_mistakes(PROBABILITIES, torch.tensor([0, 1, 1, 0]), 10).tolist() == []


def test_the_least_certain_comes_first() -> None:
    assert least_certain(PROBABILITIES, 3).tolist() == [3, 1, 2]


def test_what_is_won_from_a_baseline_begins_where_it_knew_least() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    baseline = torch.tensor([[0.4, 0.6], [0.95, 0.05], [0.3, 0.7], [0.45, 0.55]])

    def judged(probabilities: torch.Tensor) -> Judgement:
        return Judgement(probabilities, labels, EvaluationSums.of(probabilities.log(), labels, None), 1.0)

    ours, theirs = judged(PROBABILITIES), judged(baseline)
    # Both are right about the third; of the others, 0.5, 0.55 and 0.1 more went to the label.
    assert won_from(ours, theirs, 10).tolist() == [1, 0, 3]
    assert won_from(ours, theirs, 1).tolist() == [1]
    assert won_from(theirs, ours, 10).tolist() == []
