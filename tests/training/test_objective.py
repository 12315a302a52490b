"""The loss is PyTorch's own, averaged over images."""

import pytest
import torch
import torch.nn.functional as F

from vision_transformers.training.objective import CrossEntropy, Distillation, balanced_weights


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(32, 5, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(32) % 5
IMAGES = torch.zeros(32, 1, 2, 2)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_it_is_cross_entropy(logits: torch.Tensor, label_smoothing: float) -> None:
    objective = CrossEntropy(5, label_smoothing, None)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=label_smoothing)
    torch.testing.assert_close(objective(logits, objective.targets(LABELS), IMAGES), expected)


def test_half_precision_is_summed_in_full(logits: torch.Tensor) -> None:
    objective = CrossEntropy(5, 0.0, None)
    loss = objective(logits.bfloat16(), objective.targets(LABELS), IMAGES)
    assert loss.dtype == torch.float32


def test_balanced_classes_weigh_the_same() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = balanced_weights(labels, 3)
    sums = torch.stack([weights[labels[labels == label]].sum() for label in range(3)])
    torch.testing.assert_close(sums, torch.full((3,), 100 / 3))
    assert weights[labels].mean() == pytest.approx(1)


def test_an_image_of_a_rare_class_counts_as_its_weight_says(logits: torch.Tensor) -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    objective = CrossEntropy(5, 0.0, weights)
    losses = F.cross_entropy(logits, LABELS, reduction="none")
    expected = (weights[LABELS] * losses).sum() / 32
    torch.testing.assert_close(objective(logits, objective.targets(LABELS), IMAGES), expected)


@pytest.mark.parametrize(("weight", "temperature"), [(0.3, 1.0), (0.7, 4.0), (0.0, 2.0), (1.0, 2.0)])
def test_a_teacher_and_the_labels_have_their_parts(
    logits: torch.Tensor, weight: float, temperature: float
) -> None:
    """Smoothing and class weights are of the labels alone (Hinton et al. 2015, section 2)."""
    taught = 3 * torch.randn(32, 5, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    labels = CrossEntropy(5, 0.1, weights)
    asked: list[torch.Tensor] = []

    def teacher(images: torch.Tensor) -> torch.Tensor:
        asked.append(images)
        return taught.bfloat16()

    loss = Distillation(labels, teacher, weight, temperature)(logits, labels.targets(LABELS), IMAGES)
    probabilities = (taught.bfloat16().float() / temperature).softmax(dim=1)
    divergence = F.kl_div((logits / temperature).softmax(dim=1).log(), probabilities, reduction="none").sum(
        dim=1
    )
    of_labels = F.cross_entropy(
        logits, labels.targets(LABELS), weight=weights, label_smoothing=0.1, reduction="none"
    )
    expected = ((1 - weight) * of_labels + weight * temperature**2 * divergence).mean()
    torch.testing.assert_close(loss, expected)
    assert loss.dtype == torch.float32
    assert len(asked) == 1
    assert asked[0] is IMAGES


def test_gradients_of_a_teacher_keep_their_size_at_every_temperature(logits: torch.Tensor) -> None:
    """Without the square of the temperature, 32 would leave a thousandth of them."""
    small, taught = 0.01 * logits, 0.01 * logits.flip(0)
    norms = []
    for temperature in (1.0, 32.0):
        student = small.clone().requires_grad_()
        objective = Distillation(CrossEntropy(5, 0.0, None), lambda _: taught, 1.0, temperature)
        objective(student, objective.targets(LABELS), IMAGES).backward()
        assert student.grad is not None
        norms.append(student.grad.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
