"""From sums to what is read: accuracies with intervals, scores of each class, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from vision_transformers.evaluation.intervals import wilson_interval
from vision_transformers.evaluation.sums import BINS, CalibrationSums, EvaluationSums

LARGEST_MATRIX = 2000
"""Classes up to which all pairs of truth and guess are written, also those that do not occur."""


def scores(sums: EvaluationSums, classes: Sequence[str], temperature: float | None) -> dict[str, Any]:
    """Plain values for `metrics.json`; every share is 0 to 1.

    With five classes or fewer there is no `top_5`. With more than 2,000, `confusion_pairs` stand in the place
    of `confusion`, the matrix of truth (rows) by guess: [truth, guess, images] of each that occurs. Precision
    and F1 of a class that was never guessed, and recall of one that has no images, are 0, as scikit-learn has
    them; macro averages are over the classes that occur as truth or as guess.
    """
    counts = _counts(sums, len(classes))
    per_class = _per_class(counts)
    occurring = (counts.guessed + counts.true) > 0
    macro = {name: float(values[occurring].mean()) for name, values in per_class.items()}
    result: dict[str, Any] = {
        "samples": sums.images,
        "classes": list(classes),
        "loss": sums.loss / sums.images,
        "top_1": share(int(counts.correct.sum()), sums.images),
    }
    if len(classes) > 5:
        result["top_5"] = share(sums.in_top_5, sums.images)
    values = (each.tolist() for each in (*per_class.values(), counts.true))
    rows = zip(classes, *values, strict=True)
    columns = ("class", *per_class, "support")
    return result | {
        "per_class": [dict(zip(columns, row, strict=True)) for row in rows],
        "macro": macro,
        **_confusion(sums, len(classes)),
        "calibration": _calibration(sums, temperature),
    }


@dataclass(frozen=True)
class _Counts:
    """Images of each class: as truth, as guess, and as both."""

    true: Int[Tensor, " classes"]
    guessed: Int[Tensor, " classes"]
    correct: Int[Tensor, " classes"]


def _counts(sums: EvaluationSums, classes: int) -> _Counts:
    truths, guesses = torch.tensor(list(sums.confusion)).T
    images = torch.tensor(list(sums.confusion.values()))
    none = torch.zeros(classes, dtype=torch.long)
    return _Counts(
        none.index_add(0, truths, images),
        none.index_add(0, guesses, images),
        none.index_add(0, truths, images * (truths == guesses)),
    )


def _per_class(counts: _Counts) -> dict[str, Float64[Tensor, " classes"]]:
    correct = counts.correct.double()
    return {
        "precision": correct / counts.guessed.clamp(min=1),
        "recall": correct / counts.true.clamp(min=1),
        "f1": 2 * correct / (counts.guessed + counts.true).clamp(min=1),
    }


def _confusion(sums: EvaluationSums, classes: int) -> dict[str, list[list[int]]]:
    if classes > LARGEST_MATRIX:
        return {"confusion_pairs": [[*pair, images] for pair, images in sorted(sums.confusion.items())]}
    matrix = [[0] * classes for _ in range(classes)]
    for (truth, guess), images in sums.confusion.items():
        matrix[truth][guess] = images
    return {"confusion": matrix}


def share(successes: int, trials: int) -> dict[str, float]:
    """An accuracy with the ends of its 95 % interval."""
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
