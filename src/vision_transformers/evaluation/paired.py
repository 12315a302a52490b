"""A classifier beside a baseline on the same images: whether it is better, or was lucky."""

import math
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from vision_transformers.evaluation.intervals import NORMAL_QUANTILE


@dataclass(frozen=True)
class PairedAccuracy:
    """How many of the same images each of two classifiers guesses right.

    What both get right, or neither, says nothing about which is better: the images on which they differ do,
    so that far smaller differences can be told than from the intervals of two accuracies.
    """

    both: int
    gained: int
    """Right with the classifier alone."""
    lost: int
    """Right with the baseline alone."""
    neither: int

    @classmethod
    def of(cls, classifier: Bool[Tensor, " images"], baseline: Bool[Tensor, " images"]) -> "PairedAccuracy":
        """Counts, from whether each guess is right."""
        return cls(
            both=int((classifier & baseline).sum()),
            gained=int((classifier & ~baseline).sum()),
            lost=int((baseline & ~classifier).sum()),
            neither=int((~classifier & ~baseline).sum()),
        )

    @property
    def images(self) -> int:
        """How many there are."""
        return self.both + self.gained + self.lost + self.neither

    @property
    def difference(self) -> float:
        """The classifier's accuracy without the baseline's, -1 to 1."""
        return (self.gained - self.lost) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference (Bonett and Price 2012): lower and upper end, -1 to 1."""
        images = self.images + 2
        gained, lost = (self.gained + 1) / images, (self.lost + 1) / images
        half = NORMAL_QUANTILE * math.sqrt((gained + lost - (gained - lost) ** 2) / images)
        return max(-1.0, gained - lost - half), min(1.0, gained - lost + half)

    @property
    def p_value(self) -> float:
        """How often two equally good classifiers differ so much or more (McNemar 1947, exact, two-sided)."""
        differing, fewer = self.gained + self.lost, min(self.gained, self.lost)
        tail = math.fsum(math.exp(_log_of_binomial(differing, count)) for count in range(fewer + 1))
        return min(1.0, 2 * tail)


def _log_of_binomial(trials: int, successes: int) -> float:
    """Of a fair coin, the logarithm of the probability of so many heads."""
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return ways - trials * math.log(2)
