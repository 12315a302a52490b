"""What an evaluation counts, as sums over images: those of batches, or of processes, add up."""

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor

BINS = 15
"""Intervals of equal width that confidences fall into."""


@dataclass(frozen=True)
class CalibrationSums:
    """Of the images in each interval of confidence."""

    images: Int[Tensor, " bins"]
    confidence: Float64[Tensor, " bins"]
    """Sum of the probabilities of their guesses."""
    correct: Int[Tensor, " bins"]

    @classmethod
    def of(
        cls, probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]
    ) -> "CalibrationSums":
        """The sums of these images; an interval holds its upper end and not its lower one."""
        confidence, guesses = probabilities.double().max(dim=1)
        places = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        correct = guesses == labels
        return cls(
            torch.bincount(places, minlength=BINS),
            torch.zeros(BINS, dtype=torch.float64).index_add(0, places, confidence),
            torch.bincount(places[correct], minlength=BINS),
        )

    def __add__(self, other: "CalibrationSums") -> "CalibrationSums":
        return CalibrationSums(
            self.images + other.images, self.confidence + other.confidence, self.correct + other.correct
        )

    @property
    def expected_error(self) -> float:
        """Expected calibration error, 0 to 1 (Guo et al., arXiv 1706.04599, Equation 3)."""
        gaps = (self.correct - self.confidence).abs()
        return float(gaps.sum() / self.images.sum())


@dataclass(frozen=True)
class EvaluationSums:
    """Everything that is said about a model's guesses is made of these."""

    confusion: Counter[tuple[int, int]]
    """Images by truth and guess, of pairs that occur: a matrix of ImageNet-21k's classes takes 3.8 GB."""
    loss: float
    """Sum of cross-entropies, without temperature."""
    in_top_5: int
    """Images whose truth is among the five likeliest classes."""
    calibration: CalibrationSums
    """Without temperature."""
    calibration_after: CalibrationSums | None
    """At the model's temperature, where it has one."""

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "images classes"],
        labels: Int[Tensor, " images"],
        temperature: float | None,
    ) -> "EvaluationSums":
        """The sums of these images, in double precision on the CPU."""
        logits, labels = logits.double().cpu(), labels.cpu()
        likeliest = logits.argsort(dim=1, descending=True, stable=True)[:, :5]
        after = None if temperature is None else (logits / temperature).softmax(dim=1)
        return cls(
            Counter(zip(labels.tolist(), logits.argmax(dim=1).tolist(), strict=True)),
            float(F.cross_entropy(logits, labels, reduction="sum")),
            int((likeliest == labels[:, None]).sum()),
            CalibrationSums.of(logits.softmax(dim=1), labels),
            None if after is None else CalibrationSums.of(after, labels),
        )

    def __add__(self, other: "EvaluationSums") -> "EvaluationSums":
        after = None
        if self.calibration_after is not None and other.calibration_after is not None:
            after = self.calibration_after + other.calibration_after
        return EvaluationSums(
            self.confusion + other.confusion,
            self.loss + other.loss,
            self.in_top_5 + other.in_top_5,
            self.calibration + other.calibration,
            after,
        )

    @property
    def images(self) -> int:
        """How many images were counted."""
        return self.confusion.total()
