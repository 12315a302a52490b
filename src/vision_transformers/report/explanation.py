"""What is shown of one explained picture, as a drawing and as a file of arrays."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vision_transformers.report.overlay import Box, overlaid
from vision_transformers.report.style import Palette, on_one_line, render_png

_LONGEST_NAME, _LONGEST_LABEL = 80, 30
"""Letters."""


@dataclass(frozen=True)
class Curves:
    """How far to believe a map: probabilities as its patches go, or come, beside random orders."""

    fractions: Float[np.ndarray, " steps"]
    deletion: Float[np.ndarray, " steps"]
    insertion: Float[np.ndarray, " steps"]
    random_deletion: Float[np.ndarray, "orders steps"]
    random_insertion: Float[np.ndarray, "orders steps"]
    advantage: float
    """Area under insertion less that under deletion; of random orders, 0."""

    def in_words(self) -> str:
        """The areas, in a line."""
        deletion, insertion, random = (
            np.trapezoid(values, self.fractions)
            for values in (self.deletion, self.insertion, self.random_deletion.mean(axis=0))
        )
        return (
            f"area under deletion {deletion:.2f}, insertion {insertion:.2f}, random order {random:.2f}; "
            f"advantage over random {self.advantage:+.2f}"
        )


@dataclass(frozen=True)
class ClassMap:
    """One method's map for one class; of no class where it is the same for all."""

    label: str | None
    values: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class MethodMaps:
    """One method's maps."""

    words: str
    """What its map is."""
    maps: tuple[ClassMap, ...]
    curves: Curves
    """Of the first map, for the chosen class."""


@dataclass(frozen=True)
class Explanation:
    """One picture, what the model says of it, and why."""

    name: str
    picture: UInt8[np.ndarray, "height width 3"]
    """In its own aspect, at most `LONGEST_SIDE` pixels long."""
    box: Box
    """The part of it that the model saw."""
    guesses: tuple[tuple[str, float], ...]
    """The likeliest classes with their probabilities."""
    label: str
    """The class that is explained."""
    probability: float
    """Its probability."""
    methods: Mapping[str, MethodMaps]
    """By name; the first is the one that was asked for."""
    attention: Float[np.ndarray, "layers heads rows columns"] | None = None
    """What the head reads attends to, where it was asked for."""

    @property
    def method(self) -> str:
        """The method that was asked for."""
        return next(iter(self.methods))

    def overlay(self) -> UInt8[np.ndarray, "height width 3"]:
        """The picture with the map of the method that was asked for."""
        return overlaid(self.picture, self.methods[self.method].maps[0].values, self.box)


def explanation_png(explanation: Explanation) -> bytes:
    """A sheet: the picture, the map over it, and how far to believe it."""
    return render_png(lambda palette: _sheet(explanation, palette))


def explanation_npz(explanation: Explanation) -> bytes:
    """Every array, by name, for programs."""
    arrays: dict[str, np.ndarray] = {
        "picture": explanation.picture,
        "box": np.array(explanation.box),
        "labels": np.array([label for label, _ in explanation.guesses]),
        "probabilities": np.array([probability for _, probability in explanation.guesses]),
        "explained": np.array(explanation.label),
    }
    for name, method in explanation.methods.items():
        arrays[f"{name}/maps"] = np.stack([each.values for each in method.maps])
        arrays[f"{name}/classes"] = np.array([each.label or "" for each in method.maps])
        for curve in ("fractions", "deletion", "insertion", "random_deletion", "random_insertion"):
            arrays[f"{name}/{curve}"] = getattr(method.curves, curve)
    if explanation.attention is not None:
        arrays["attention/layers"] = explanation.attention
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _sheet(explanation: Explanation, palette: Palette) -> Figure:
    method = explanation.methods[explanation.method]
    figure = Figure(figsize=(12.5, 4.9), layout="constrained", dpi=110)
    guess, probability = explanation.guesses[0]
    name = on_one_line(explanation.name, _LONGEST_NAME)
    title = f"{name}: {on_one_line(guess, _LONGEST_LABEL)} {probability:.1%}"
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    left.imshow(explanation.picture)
    left.set_title("the picture")
    middle.imshow(explanation.overlay())
    label = on_one_line(explanation.label, _LONGEST_LABEL)
    of_class = f", for {label} ({explanation.probability:.1%})" if method.maps[0].label else ""
    middle.set_title(f"{explanation.method}{of_class}")
    for axes in (left, middle):
        axes.set_axis_off()
    _draw_curves(right, method.curves, palette)
    figure.supxlabel(f"{method.words}\n{method.curves.in_words()}", fontsize=9, color=palette.muted)
    return figure


def _draw_curves(axes: Axes, curves: Curves, palette: Palette) -> None:
    """Deletion and insertion, each with the band of random orders."""
    for name, color, measured, random in (
        ("insertion", palette.series[2], curves.insertion, curves.random_insertion),
        ("deletion", palette.series[1], curves.deletion, curves.random_deletion),
    ):
        axes.fill_between(
            curves.fractions,
            random.min(axis=0),
            random.max(axis=0),
            color=color,
            alpha=0.18,
            linewidth=0,
            label=f"{name}, random orders",
        )
        axes.plot(curves.fractions, measured, color=color, label=name)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), title="how far to believe it")
    axes.set_xlabel("part of the patches that are gone (deletion) or there (insertion)")
    axes.set_ylabel("probability of the class")
    axes.legend(fontsize=8, loc="best")
