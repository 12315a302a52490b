"""What a classifier says of a picture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """One class that a picture may show."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a picture shows, by a model's judgement."""

    top: tuple[Guess, ...]
    """The likeliest classes, the likeliest first."""

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.top[0].label

    @property
    def index(self) -> int:
        """Its place among the classes."""
        return self.top[0].index

    @property
    def probability(self) -> float:
        """How sure the model is of it, 0 to 1; calibrated where the model has a temperature."""
        return self.top[0].probability
