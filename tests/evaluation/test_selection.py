"""A person is shown the pictures that say most first."""

import torch

from vision_transformers.evaluation.selection import least_certain, worst_mistakes

PROBABILITIES = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45]])


def test_the_surest_mistake_comes_first() -> None:
    assert worst_mistakes(PROBABILITIES, torch.tensor([1, 1, 0, 0]), 10).tolist() == [0, 2]
    assert worst_mistakes(PROBABILITIES, torch.tensor([1, 0, 0, 1]), 2).tolist() == [0, 2]
    assert worst_mistakes(PROBABILITIES, torch.tensor([0, 1, 1, 0]), 10).tolist() == []


def test_the_least_certain_comes_first() -> None:
    assert least_certain(PROBABILITIES, 3).tolist() == [3, 1, 2]
