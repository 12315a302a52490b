"""A temperature makes probabilities honest, and is never absurd."""

import pytest
import torch

from vision_transformers.evaluation.calibration import BOUND, fit_temperature
from vision_transformers.evaluation.sums import CalibrationSums


def honest_logits(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax is the true distribution of the labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(images, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, labels = honest_logits(20_000, 10)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)


def test_it_lowers_the_calibration_error_of_other_images() -> None:
    logits, labels = honest_logits(20_000, 10)
    logits *= 3
    temperature = fit_temperature(logits[:10_000], labels[:10_000])
    before, after = (
        CalibrationSums.of((logits[10_000:] / scale).softmax(dim=1), labels[10_000:]).expected_error
        for scale in (1.0, temperature)
    )
    assert after < before / 5


def test_guesses_that_are_all_right_do_not_make_it_absurd() -> None:
    """The digits of scikit-learn: 142 validation images, all right. Without a limit, T would be near 0."""
    labels = torch.arange(10).repeat(15)
    logits = torch.full((150, 10), -4.0).scatter(1, labels[:, None], 8.0)
    assert 0.5 < fit_temperature(logits, labels) < 5


def test_logits_that_tell_nothing_end_at_the_bound() -> None:
    labels = torch.arange(10).repeat(50)
    wrong = torch.zeros(500, 10).scatter(1, ((labels + 1) % 10)[:, None], 5.0)
    assert fit_temperature(wrong, labels) == pytest.approx(BOUND, rel=1e-6)


def test_without_images_there_is_none() -> None:
    with pytest.raises(ValueError, match="0 images"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize(("images", "classes"), [(4, 3), (10, 5)])
def test_few_guesses_that_are_all_right_are_as_sure_as_platt_has_it(images: int, classes: int) -> None:
    """Of N images, the least cross-entropy is at a confidence of (N + 1) / (N + 2)."""
    labels = torch.arange(images) % classes
    logits = 6.0 * torch.eye(classes)[labels]
    fitted = (logits / fit_temperature(logits, labels)).softmax(dim=1)
    confidence = fitted.gather(1, labels[:, None])
    torch.testing.assert_close(confidence, torch.full((images, 1), (images + 1) / (images + 2)))


def test_a_constant_on_all_logits_changes_no_temperature() -> None:
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(dim=1)
    assert fit_temperature(logits + 20, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-4)


def test_one_class_has_no_temperature() -> None:
    with pytest.raises(ValueError, match="1 classes"):
        fit_temperature(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
