"""The loss is PyTorch's own, averaged over images."""

import pytest
import torch
import torch.nn.functional as F

from vision_transformers.training.objective import Objective, balanced_weights


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(32, 5, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(32) % 5


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_it_is_cross_entropy(logits: torch.Tensor, label_smoothing: float) -> None:
    objective = Objective(5, label_smoothing, None)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=label_smoothing)
    torch.testing.assert_close(objective(logits, objective.targets(LABELS)), expected)


def test_half_precision_is_summed_in_full(logits: torch.Tensor) -> None:
    objective = Objective(5, 0.0, None)
    loss = objective(logits.bfloat16(), objective.targets(LABELS))
    assert loss.dtype == torch.float32


def test_balanced_classes_weigh_the_same() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = balanced_weights(labels, 3)
    sums = torch.stack([weights[labels[labels == label]].sum() for label in range(3)])
    torch.testing.assert_close(sums, torch.full((3,), 100 / 3))
    assert weights[labels].mean() == pytest.approx(1)


def test_an_image_of_a_rare_class_counts_as_its_weight_says(logits: torch.Tensor) -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    objective = Objective(5, 0.0, weights)
    losses = F.cross_entropy(logits, LABELS, reduction="none")
    expected = (weights[LABELS] * losses).sum() / 32
    torch.testing.assert_close(objective(logits, objective.targets(LABELS)), expected)
