"""From sums to what is read: accuracies with intervals, scores of each class, calibration."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from vision_transformers.evaluation.intervals import wilson_interval
from vision_transformers.evaluation.sums import BINS, CalibrationSums, EvaluationSums


def scores(sums: EvaluationSums, classes: Sequence[str], temperature: float | None) -> dict[str, Any]:
    """Plain values for `metrics.json`; every share is 0 to 1.

    With five classes or fewer there is no `top_5`. Precision and F1 of a class that was never guessed, and
    recall of one that has no images, are 0, as scikit-learn has them; macro averages are over the classes
    that occur as truth or as guess.
    """
    per_class = _per_class(sums)
    occurring = (sums.confusion.sum(0) + sums.confusion.sum(1)) > 0
    macro = {name: float(values[occurring].mean()) for name, values in per_class.items()}
    support = sums.confusion.sum(1).tolist()
    result: dict[str, Any] = {
        "samples": sums.images,
        "classes": list(classes),
        "loss": sums.loss / sums.images,
        "top_1": _share(int(sums.confusion.trace()), sums.images),
    }
    if len(classes) > 5:
        result["top_5"] = _share(sums.in_top_5, sums.images)
    rows = zip(classes, *(values.tolist() for values in per_class.values()), support, strict=True)
    columns = ("class", *per_class, "support")
    return result | {
        "per_class": [dict(zip(columns, row, strict=True)) for row in rows],
        "macro": macro,
        "confusion": sums.confusion.tolist(),
        "calibration": _calibration(sums, temperature),
    }


def _per_class(sums: EvaluationSums) -> dict[str, Float64[Tensor, " classes"]]:
    correct = sums.confusion.diagonal().double()
    guessed, true = sums.confusion.sum(0), sums.confusion.sum(1)
    return {
        "precision": correct / guessed.clamp(min=1),
        "recall": correct / true.clamp(min=1),
        "f1": 2 * correct / (guessed + true).clamp(min=1),
    }


def _share(successes: int, trials: int) -> dict[str, float]:
    lower, upper = wilson_interval(successes, trials)
    return {"accuracy": successes / trials, "lower": lower, "upper": upper}


def _calibration(sums: EvaluationSums, temperature: float | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bins": BINS,
        "temperature": temperature,
        "error": sums.calibration.expected_error,
        "reliability": _reliability(sums.calibration),
    }
    if sums.calibration_after is not None:
        result["error_after"] = sums.calibration_after.expected_error
        result["reliability_after"] = _reliability(sums.calibration_after)
    return result


def _reliability(sums: CalibrationSums) -> list[dict[str, int | float]]:
    """For each bin: its images, and the means of their confidence and correctness; 0 where it is empty."""
    counts = sums.images.clamp(min=1)
    columns = (sums.images, sums.confidence / counts, sums.correct.double() / counts)
    return [
        {"count": count, "confidence": confidence, "accuracy": accuracy}
        for count, confidence, accuracy in zip(*(column.tolist() for column in columns), strict=True)
    ]
