"""Several runs side by side: a table of what differs and what came of it, and their curves in one picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from vision_transformers.config import first_of
from vision_transformers.files import write_file
from vision_transformers.report.csv_records import csv_record
from vision_transformers.report.metrics import Row, of_kept_weights
from vision_transformers.report.page import fill_template, inline_drawing
from vision_transformers.report.style import Palette, on_one_line, render_for_a_page

MEASURED = ("validation_accuracy", "test_accuracy", "validation_loss", "test_loss")
FINISHED = "finished"
_LONGEST_NAME = 100
_DIGITS = 8
"""Of a fingerprint, which tells images apart that lie in one place."""
_DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


@dataclass(frozen=True)
class Evaluation:
    """What `vit evaluate` measured of a run."""

    data: str
    """Data set and split."""
    place: str
    """Where that lies, or what it is called."""
    accuracy: float
    lower: float
    """End of its 95 % interval."""
    upper: float
    warning: str | None = None
    """Why the numbers may not be believed."""


@dataclass(frozen=True)
class ComparedRun:
    """A run, for a comparison."""

    name: str
    fields: Mapping[str, Any]
    """Of its recipe, by dotted name, where they can change the result."""
    images: str
    """The fingerprint of what it learned from."""
    place: str
    """Where that lies, or what it is called."""
    rows: Sequence[Row]
    """Of its metrics.jsonl."""
    seconds: float | None
    """Of training, where they were measured."""
    state: str
    """`FINISHED`, or where it stopped."""
    evaluations: Sequence[Evaluation] = ()

    def last(self, measurement: str) -> float | None:
        """The last value of a measurement, if there is one; a finished run's is of the weights it kept."""
        rows = [*self.rows, of_kept_weights(self.rows)] if self.state == FINISHED else self.rows
        values = [row[measurement] for row in rows if measurement in row]
        return values[-1] if values else None


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in nothing but the seed: one for each seed."""

    name: str
    """Their names."""
    count: int
    mean: float
    """Of their test accuracies, or of those of validation where there is no test."""
    least: float
    most: float
    measured: str


@dataclass(frozen=True)
class Comparison:
    """What is printed and drawn about runs."""

    runs: tuple[ComparedRun, ...]
    differing: tuple[str, ...]
    """The fields in which their recipes differ, and `images` where these do."""
    groups: tuple[Group, ...]
    """Of two seeds or more."""
    judges: Mapping[tuple[str, str], str]
    """What runs were evaluated on: by data set and place its name, with the place where two share it."""

    @classmethod
    def of(cls, runs: Sequence[ComparedRun]) -> "Comparison":
        """Finds what differs, and which runs differ by their seed alone."""
        names = dict.fromkeys(name for run in runs for name in run.fields)
        differing = [name for name in names if len({repr(run.fields.get(name)) for run in runs}) > 1]
        differing += ["images"] if len({run.images for run in runs}) > 1 else []
        return cls(tuple(runs), tuple(differing), _groups(runs), _judges(runs))

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Headers of what `vit evaluate` measured: for each data set the accuracy, and its interval."""
        return tuple(header for name in self.judges.values() for header in _evaluation_headers(name))

    @property
    def warned(self) -> tuple[str, ...]:
        """Headers of what `vit evaluate` warned of: for each data set where it did."""
        warned = {(one.data, one.place) for run in self.runs for one in run.evaluations if one.warning}
        return tuple(_warning_header(name) for judge, name in self.judges.items() if judge in warned)

    @property
    def warnings(self) -> dict[str, str]:
        """What it warned of, each with the mark that the accuracies have in `texts`."""
        found = dict.fromkeys(one.warning for run in self.runs for one in run.evaluations if one.warning)
        return {warning: "*" * count for count, warning in enumerate(found, start=1)}

    @property
    def columns(self) -> tuple[str, ...]:
        """Headers of the table: the run, what came of it, and what differs, which may be much."""
        measured = [name for name in MEASURED if any(run.last(name) is not None for run in self.runs)]
        came_of_it = (*measured, *self.evaluated, *self.warned, "reached epoch", "seconds", "state")
        return ("run", *came_of_it, *self.differing)

    @property
    def shown(self) -> tuple[str, ...]:
        """The headers for people, who have the warnings below the table."""
        return tuple(column for column in self.columns if column not in self.warned)

    def cells(self, run: ComparedRun) -> dict[str, Any]:
        """The values of one run's row; None where there is none."""
        measured = {name: run.last(name) for name in MEASURED}
        fields = {name: run.fields.get(name) for name in self.differing}
        epochs = run.last("epoch")
        return {
            "run": run.name,
            **measured,
            **self._evaluation_cells(run),
            "reached epoch": epochs,
            "seconds": run.seconds,
            "state": run.state,
            **fields,
            "images": f"{run.place} ({run.images[:_DIGITS]})",
        }

    def texts(self, run: ComparedRun) -> dict[str, str]:
        """The cells as people read them; an accuracy that was warned of has the mark of its warning."""
        cells = self.cells(run)
        texts = {column: _readable(column, value) for column, value in cells.items()}
        for name in self.judges.values():
            warning = cells.get(_warning_header(name))
            if warning:
                texts[_evaluation_headers(name)[0]] += self.warnings[warning]
        return texts

    def _evaluation_cells(self, run: ComparedRun) -> dict[str, Any]:
        cells: dict[str, Any] = dict.fromkeys((*self.evaluated, *self.warned))
        for one in run.evaluations:
            name = self.judges[one.data, one.place]
            values = (one.accuracy, f"{one.lower:.1%} to {one.upper:.1%}")
            cells |= zip(_evaluation_headers(name), values, strict=True)
            cells[_warning_header(name)] = one.warning
        return cells


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Writes `index.html`, `curves.png` and `table.csv` into a folder that is there.

    Raises:
        Failure: a file cannot be written.
    """
    drawing = render_for_a_page(partial(comparison_figure, comparison.runs))
    write_file(folder / "curves.png", drawing.png)
    write_file(folder / "table.csv", _csv(comparison))
    words = "Loss and accuracy of the runs by epoch; the table has their last values."
    page = fill_template(
        "comparison.html",
        comparison=comparison,
        drawing=inline_drawing(drawing, words),
        differing=first_of(comparison.differing),
    )
    write_file(folder / "index.html", page)


def comparison_figure(runs: Sequence[ComparedRun], palette: Palette) -> Figure:
    """Loss and accuracy by epoch: of validation, else of training; a diamond is the test."""
    figure = Figure(figsize=(11, 4.8), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, measurement in zip(panels, ("loss", "accuracy"), strict=True):
        lines = [_draw_run(axes, run, place, measurement, palette) for place, run in enumerate(runs)]
        axes.set_title(measurement.capitalize())
        axes.set_xlabel("epoch")
    panels[1].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    # Named here: of lines that are called `_...` themselves, matplotlib shows none.
    names = [f"{on_one_line(run.name, _LONGEST_NAME)} ({_part_of(run)})" for run in runs]
    figure.legend(lines, names, loc="outside lower left", ncols=2)
    return figure


def _readable(column: str, value: Any) -> str:
    """A cell as text: shares in percent, seconds and losses with the digits that tell something."""
    if value is None:
        return ""
    if column.endswith("accuracy"):
        return f"{value:.2%}"
    if column.endswith("loss"):
        return f"{value:.4f}"
    if column == "seconds":
        return f"{value:,.0f}"
    if column == "reached epoch":
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _judges(runs: Sequence[ComparedRun]) -> dict[tuple[str, str], str]:
    judges = sorted({(one.data, one.place) for run in runs for one in run.evaluations})
    sharing = Counter(data for data, _ in judges)
    return {(data, place): data if sharing[data] == 1 else f"{data} ({place})" for data, place in judges}


def _evaluation_headers(name: str) -> tuple[str, str]:
    return f"{name} accuracy", f"{name} 95% interval"


def _warning_header(name: str) -> str:
    return f"{name} warning"


def _groups(runs: Sequence[ComparedRun]) -> tuple[Group, ...]:
    alike: dict[tuple[str, str], list[ComparedRun]] = {}
    for run in runs:
        recipe = repr({name: value for name, value in run.fields.items() if name != "seed"})
        alike.setdefault((recipe, run.images), []).append(run)
    return tuple(group for several in alike.values() if (group := _group(several)) is not None)


def _group(runs: Sequence[ComparedRun]) -> Group | None:
    """The last of each seed's runs that came to their end."""
    ended = list({run.fields.get("seed"): run for run in runs if run.state == FINISHED}.values())
    for measured in ("test_accuracy", "validation_accuracy"):
        values = [value for run in ended if (value := run.last(measured)) is not None]
        if len(values) == len(ended) > 1:
            names = ", ".join(run.name for run in ended)
            return Group(names, len(values), fmean(values), min(values), max(values), measured)
    return None


def _draw_run(axes: Axes, run: ComparedRun, place: int, measurement: str, palette: Palette) -> Line2D:
    color = palette.series[place % len(palette.series)]
    dashes = _DASHES[place // len(palette.series) % len(_DASHES)]
    (line,) = axes.plot(*_series(run, f"{_part_of(run)}_{measurement}"), color=color, linestyle=dashes)
    epochs, values = _series(run, f"test_{measurement}")
    axes.plot(epochs[-1:], values[-1:], "D", color=color, markersize=7)
    return line


def _part_of(run: ComparedRun) -> str:
    """Of which images the curves are."""
    return "validation" if run.last("validation_loss") is not None else "train"


def _series(run: ComparedRun, key: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for row in run.rows if "epoch" in row and key in row]
    points = [(row["epoch"], row[key]) for row in rows if np.isfinite(row[key])]
    return tuple(np.array(points, dtype=float).reshape(-1, 2).T)  # type: ignore[return-value]


def _csv(comparison: Comparison) -> bytes:
    columns = comparison.columns
    rows = [[cells[column] for column in columns] for cells in map(comparison.cells, comparison.runs)]
    return "".join(map(csv_record, [columns, *rows])).encode(errors="backslashreplace")
