"""Opponents take turns, so that a machine whose speed drifts favours nobody."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from vision_transformers.runtime.device import synchronize

LEAST_ROUNDS = 3


def number_of_rounds(text: str) -> int:
    """As a command's option says it."""
    rounds = int(text)
    if rounds < LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"a median with quartiles is of {LEAST_ROUNDS} rounds at least")
    return rounds


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of at least 3 values."""
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lower:.2f} to {self.upper:.2f})"


def rounds_within(seconds: float, of_one_round: float, most: int) -> int:
    """As many as fit into these seconds, of which a median and its quartiles can be made."""
    return max(LEAST_ROUNDS, int(min(most, seconds / of_one_round)))


def take_turns(
    steps: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each one's calls, round by round; each round begins with the next one."""
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            synchronize(device)
            began = time.perf_counter()
            steps[name]()
            synchronize(device)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(theirs: list[float], ours: list[float]) -> Spread:
    """How many times as fast we are, pair by pair."""
    return Spread.of([their / our for their, our in zip(theirs, ours, strict=True)])
