"""The numbers of an evaluation are those of scikit-learn and torchmetrics, however the images are batched."""

from dataclasses import fields

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from vision_transformers.evaluation.intervals import wilson_interval
from vision_transformers.evaluation.scores import scores
from vision_transformers.evaluation.sums import CalibrationSums, EvaluationSums

torchmetrics = pytest.importorskip(
    "torchmetrics.functional.classification", reason="torchmetrics is not installed"
)

CASES = [(200, 10, 0), (200, 10, 1), (37, 3, 2), (1, 4, 3), (500, 100, 4), (64, 2, 5), (40, 5, 6)]


def case(images: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits that know something of the labels; some classes may have no image."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, max(classes - 1, 1), (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1.5
    return logits, labels


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize(("images", "classes", "seed"), CASES)
def test_scores_are_those_of_scikit_learn(images: int, classes: int, seed: int) -> None:
    logits, labels = case(images, classes, seed)
    found = scores(EvaluationSums.of(logits, labels, None), names(classes), None)
    guesses, every = logits.argmax(dim=1), list(range(classes))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, guesses, labels=every, zero_division=0
    )
    for place, row in enumerate(found["per_class"]):
        assert row["precision"] == pytest.approx(precision[place], abs=1e-6)
        assert row["recall"] == pytest.approx(recall[place], abs=1e-6)
        assert row["f1"] == pytest.approx(f1[place], abs=1e-6)
        assert row["support"] == support[place]
    assert found["top_1"]["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(labels, guesses), abs=1e-6
    )
    assert found["confusion"] == sklearn_metrics.confusion_matrix(labels, guesses, labels=every).tolist()
    macro = sklearn_metrics.precision_recall_fscore_support(labels, guesses, average="macro", zero_division=0)
    for name, value in zip(("precision", "recall", "f1"), macro, strict=False):
        assert found["macro"][name] == pytest.approx(value, abs=1e-6)
    probabilities = logits.double().softmax(dim=1).numpy()
    assert found["loss"] == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities, labels=every), abs=1e-6
    )


@pytest.mark.parametrize(("images", "classes", "seed"), CASES)
def test_top_5_and_calibration_are_those_of_torchmetrics(images: int, classes: int, seed: int) -> None:
    logits, labels = case(images, classes, seed)
    found = scores(EvaluationSums.of(logits, labels, 2.0), names(classes), 2.0)
    for key, temperature in (("error", 1.0), ("error_after", 2.0)):
        theirs = torchmetrics.multiclass_calibration_error(
            (logits.double() / temperature).softmax(dim=1), labels, classes, n_bins=15, norm="l1"
        )
        assert found["calibration"][key] == pytest.approx(theirs.item(), abs=1e-6)
    if classes > 5:
        theirs = torchmetrics.multiclass_accuracy(logits, labels, classes, average="micro", top_k=5)
        assert found["top_5"]["accuracy"] == pytest.approx(theirs.item(), abs=1e-6)
    else:
        assert "top_5" not in found


def test_a_confidence_between_two_intervals_is_in_the_lower_one() -> None:
    probabilities = torch.full((1, 5), 0.2, dtype=torch.float64)
    assert CalibrationSums.of(probabilities, torch.tensor([0])).images.nonzero().tolist() == [[2]]


def test_a_reliability_diagram_has_the_means_of_each_interval() -> None:
    """Three images of one interval, of which two are right, without the temperature and with it."""
    confidence = torch.tensor([0.90, 0.92, 0.88, 0.6])
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    sums = EvaluationSums.of(probabilities.log(), torch.tensor([0, 0, 1, 1]), 0.5)
    found = scores(sums, names(2), 0.5)["calibration"]
    expected = {"count": 3, "confidence": pytest.approx(0.9), "accuracy": pytest.approx(2 / 3)}
    assert found["reliability"][13] == expected
    after = confidence**2 / (confidence**2 + (1 - confidence) ** 2)
    (filled,) = [row for row in found["reliability_after"] if row["count"] == 3]
    assert filled["confidence"] == pytest.approx(after[:3].mean().item())


@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_sums_of_batches_are_the_sums_of_all(size: int) -> None:
    logits, labels = case(200, 10, 0)
    parts = [
        EvaluationSums.of(some, truth, 1.5)
        for some, truth in zip(logits.split(size), labels.split(size), strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = part + total
    whole = EvaluationSums.of(logits, labels, 1.5)
    assert total.confusion == whole.confusion
    assert total.in_top_5 == whole.in_top_5
    assert total.loss == pytest.approx(whole.loss, rel=1e-12)
    for name in ("calibration", "calibration_after"):
        mine, theirs = getattr(total, name), getattr(whole, name)
        for field in fields(theirs):
            torch.testing.assert_close(getattr(mine, field.name), getattr(theirs, field.name))


def test_memory_is_for_the_images_and_not_for_all_pairs_of_classes() -> None:
    """A matrix of the 21,843 classes of ImageNet-21k takes 3.8 GB, for each batch; here are ten of them."""
    classes, generator = 21_843, torch.Generator().manual_seed(0)
    labels = 2000 * torch.randint(10, (64,), generator=generator)
    logits = torch.randn(64, classes, generator=generator)
    logits[torch.arange(32), labels[:32]] = 10.0
    halves = [EvaluationSums.of(logits[part], labels[part], None) for part in (slice(32), slice(32, 64))]
    found = scores(halves[0] + halves[1], names(classes), None)
    assert found["top_1"]["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert len(found["per_class"]) == classes
    assert "confusion" not in found
    guesses = logits.argmax(dim=1)
    expected = torch.stack([labels, guesses], dim=1).unique(dim=0, return_counts=True)
    assert found["confusion_pairs"] == torch.cat([expected[0], expected[1][:, None]], dim=1).tolist()


def test_among_equal_logits_the_first_class_is_guessed_and_counted() -> None:
    sums = EvaluationSums.of(torch.zeros(1, 12), torch.tensor([5]), None)
    assert sums.confusion[5, 0] == 1
    assert sums.in_top_5 == 0
    assert EvaluationSums.of(torch.zeros(1, 12), torch.tensor([4]), None).in_top_5 == 1


@pytest.mark.parametrize(
    ("successes", "trials", "lower", "upper"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, lower: float, upper: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((lower, upper), abs=1e-4)


def test_an_interval_of_certainty_ends_at_one() -> None:
    assert wilson_interval(20, 20)[1] == 1
    with pytest.raises(ValueError, match="nothing"):
        wilson_interval(0, 0)
