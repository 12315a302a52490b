"""Runs side by side are named as they are called, and judged by the same numbers."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vision_transformers.report.comparison import (
    ComparedRun,
    Comparison,
    Evaluation,
    comparison_figure,
    write_comparison,
)
from vision_transformers.report.metrics import Row
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


def test_a_run_that_kept_its_best_weights_is_compared_by_their_validation() -> None:
    """Not by that of the last ones, which were thrown away; while it runs, by the last."""
    rows: list[Row] = [
        {"step": 1, "validation_accuracy": 0.8, "validation_loss": 0.5, "best_validation_accuracy": 0.8},
        {"step": 2, "validation_accuracy": 0.7, "validation_loss": 0.6, "best_validation_accuracy": 0.8},
    ]
    finished = ComparedRun("run", {}, "", "", rows, None, "finished")
    assert (finished.last("validation_accuracy"), finished.last("validation_loss")) == (0.8, 0.5)
    assert replace(finished, state="stopped").last("validation_accuracy") == 0.7


def test_each_warning_has_its_mark_and_an_honest_number_has_none() -> None:
    numbers = (0.5, 0.4, 0.6)
    judged = [
        Evaluation("a all", "/a", *numbers, "It flatters."),
        Evaluation("b all", "/b", *numbers, "No owl."),
        Evaluation("c all", "/c", *numbers),
    ]
    runs = [
        ComparedRun("one", {}, "", "", [], None, "finished", judged),
        ComparedRun("two", {}, "", "", [], None, "finished", [replace(judged[1], warning="It flatters.")]),
        ComparedRun("three", {}, "", "", [], None, "finished"),
    ]
    comparison = Comparison.of(runs)
    shown = [[comparison.texts(run)[f"{name} all accuracy"] for name in "abc"] for run in runs]
    assert shown == [["50.00%*", "50.00%**", "50.00%"], ["", "50.00%*", ""], ["", "", ""]]
    assert comparison.warnings == {"It flatters.": "*", "No owl.": "**"}
    assert set(comparison.columns) - set(comparison.shown) == {"a all warning", "b all warning"}


def test_the_table_has_any_name_and_runs_no_formula(tmp_path: Path) -> None:
    """A spreadsheet would run what a run is called, and a carriage return would break its row in two."""
    judged = [Evaluation("=mine test", "", 0.5, 0.4, 0.6)]
    fields = {"note": "two\rlines"}
    runs = [ComparedRun("=1+1", fields, "", "", [], None, "finished", judged), judged_run("b\rc", 1, 0.5)]
    write_comparison(tmp_path, Comparison.of(runs))
    with open(tmp_path / "table.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["run"], second["run"]) == ("'=1+1", "b\rc")
    assert (first["note"], second["note"]) == ("two\rlines", "")
    assert first["'=mine test accuracy"] == "0.5"


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


def judged_run(
    name: str, seed: int, test: float | None, state: str = "finished", epochs: int = 2
) -> ComparedRun:
    """A run of two epochs; `test` is the accuracy after the last."""
    validation = [
        {"validation_loss": 2.0, "validation_accuracy": 0.9},
        {"validation_loss": 1.0, "validation_accuracy": 0.6},
    ]
    rows = [
        {"step": place, "epoch": float(place), "train_loss": 9.0, "train_accuracy": 0.1, **row}
        for place, row in enumerate(validation, start=1)
    ]
    if test is not None:
        rows[0] |= {"test_loss": 7.0, "test_accuracy": 0.01}
        rows[1] |= {"test_loss": 0.5, "test_accuracy": test}
    return ComparedRun(name, {"seed": seed, "epochs": epochs}, "f" * 20, "digits", rows, 1.0, state)


def test_seeds_are_averaged_over_the_last_tests_of_finished_runs() -> None:
    runs = [
        judged_run("a", 0, 0.5),
        judged_run("b", 1, 0.6),
        judged_run("c", 2, 0.95),
        judged_run("d", 3, 0.1, "stopped"),
    ]
    (group,) = Comparison.of(runs).groups
    assert (group.count, group.least, group.most, group.measured) == (3, 0.5, 0.95, "test_accuracy")
    assert group.mean == pytest.approx((0.5 + 0.6 + 0.95) / 3)


def test_seeds_are_averaged_over_validation_where_one_was_not_tested() -> None:
    (group,) = Comparison.of([judged_run("a", 0, 0.5), judged_run("b", 1, None)]).groups
    assert (group.measured, group.mean) == ("validation_accuracy", 0.6)


def test_runs_that_differ_by_more_than_their_seed_are_not_averaged() -> None:
    assert Comparison.of([judged_run("a", 0, 0.5), judged_run("b", 1, 0.6, epochs=3)]).groups == ()


@pytest.mark.parametrize(("place", "validation", "test"), [(0, [2.0, 1.0], 0.5), (1, [0.9, 0.6], 0.75)])
def test_a_curve_is_of_validation_and_its_diamond_is_the_last_test(
    place: int, validation: list[float], test: float
) -> None:
    axes = comparison_figure([judged_run("a", 0, 0.75)], LIGHT).axes[place]
    line, diamond = (np.asarray(each.get_data()).tolist() for each in axes.get_lines())
    assert line == [[1.0, 2.0], validation]
    assert diamond == [[2.0], [test]]
