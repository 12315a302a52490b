"""Which classes are taken for which: drawings for a few classes, pairs for many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from vision_transformers.report.style import Palette, is_drawable, on_one_line

MOST_CLASSES = 30
"""With more, a matrix cannot be read."""
_LONGEST_NAME = 18

Confusion = Int[np.ndarray, "classes classes"]
"""Images by truth (rows) and guess (columns)."""

Pairs = Int[np.ndarray, "pairs 3"]
"""Truth, guess and images of every pair that occurs, in the order of a confusion matrix."""


def pairs_of(confusion: Confusion) -> Pairs:
    """What is not 0 in a matrix."""
    places = confusion.nonzero()
    return np.stack([*places, confusion[places]], axis=1)


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were taken for another."""

    truth: str
    guess: str
    count: int
    share: float
    """Of the images of the true class."""


def most_confused(pairs: Pairs, classes: Sequence[str], most: int) -> list[ConfusedPair]:
    """The pairs of truth and guess with the most mistakes, the most frequent first."""
    truths, guesses, counts = pairs.T
    support = np.bincount(truths, weights=counts)
    mistakes = pairs[truths != guesses]
    order = np.argsort(-mistakes[:, 2], kind="stable")[:most]
    return [
        ConfusedPair(classes[truth], classes[guess], count, count / support[truth])
        for truth, guess, count in mistakes[order].tolist()
    ]


def confusion_figure(
    confusion: Confusion, classes: Sequence[str], normalised: bool, palette: Palette
) -> Figure:
    """A matrix of truth by guess, in counts or as shares of each true class."""
    count = len(classes)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = max(4.2, 0.42 * count + 1.6)
    figure = Figure(figsize=(size, size), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow(shares, cmap=palette.ramp, vmin=0, vmax=1)
    # A number tells apart what is cut where a letter takes the room of six.
    numbered = (name if is_drawable(name) else f"{number} {name}" for number, name in enumerate(classes))
    names = [on_one_line(name, _LONGEST_NAME) for name in numbered]
    axes.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("guess")
    axes.set_ylabel("truth")
    axes.set_title("share of the true class, %" if normalised else "images")
    ramp = palette.ramp
    for row, column in np.argwhere(confusion > 0):
        share = shares[row, column]
        text = f"{100 * share:.0f}" if normalised else str(confusion[row, column])
        if text == "0":
            text = "<1"
        red, green, blue, _ = ramp(share)
        ink = "#111111" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#f4f4f4"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    return figure
