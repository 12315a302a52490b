"""Runs side by side are named in their drawing, whatever their folders are called."""

import pytest

from vision_transformers.report.comparison import ComparedRun, Comparison, Evaluation, comparison_figure
from vision_transformers.report.style import LIGHT, render_png

ROWS = [
    {"step": 0, "train_loss": 3.0},  # as somebody's own log may have it
    {"step": 1, "epoch": 1, "train_loss": 2.0, "train_accuracy": 0.25},
    {"step": 2, "epoch": 2, "train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.0, "test_accuracy": 0.5},
]


def test_data_sets_of_one_name_in_two_places_are_told_apart() -> None:
    """Else accuracies on other pictures would stand in one column."""
    runs = [
        ComparedRun(place, {}, "", "", [], None, "finished", [Evaluation("mine test", place, 0.5, 0.4, 0.6)])
        for place in ("/here", "/there")
    ]
    comparison = Comparison.of(runs)
    assert comparison.evaluated[::2] == ("mine test (/here) accuracy", "mine test (/there) accuracy")
    assert comparison.cells(runs[0])["mine test (/there) accuracy"] is None


@pytest.mark.filterwarnings("error")
def test_any_name_of_a_run_stands_in_the_legend() -> None:
    names = ("plain", "_underscore", "a$b$c", "$\\frac", "two\nlines", "not\udcffutf8", "猫")
    runs = [ComparedRun(name, {}, "", "", ROWS, None, "finished") for name in names]
    figure = comparison_figure(runs, LIGHT)
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert [text.removesuffix(" (train)") for text in shown[:3]] == ["plain", "_underscore", r"a\$b\$c"]
    assert len(set(shown)) == len(names)
    colours = [line.get_color() for line in legend.get_lines()]
    assert colours == [line.get_color() for line in figure.axes[0].get_lines()[::2]]
    assert render_png(lambda palette: comparison_figure(runs, palette))
