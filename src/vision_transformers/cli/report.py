"""`vit report RUN... [OPTIONS]`: compare runs by what differs between their recipes."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vision_transformers.cli.tables import aligned
from vision_transformers.config import first_of, flat
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import check_folder_can_be_written, read_json
from vision_transformers.training.recipe import CANNOT_CHANGE_THE_RESULT
from vision_transformers.training.run_folder import RunFolder, each_readable

if TYPE_CHECKING:
    from vision_transformers.report.comparison import ComparedRun, Comparison, Evaluation
    from vision_transformers.report.metrics import Row

MOST_DIFFERING = 5
"""How many fields a terminal shows."""
MOST_JUDGES = 2
"""How many data sets of `vit evaluate` it shows."""
_LONGEST_HEADER = 2**20
"""In bytes; a table of others may be of any length."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportOptions:
    """Runs, and where to write."""

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)"),
    ]
    """Run folders, or folders that hold runs."""
    output: Path = Path("report")
    """Folder for the page, the picture and the table."""


def main(arguments: list[str]) -> int:
    """Compares as the arguments say; returns the exit code."""
    options = _parse(arguments)
    from vision_transformers.report.comparison import Comparison, write_comparison

    folders = _run_folders(options.runs)
    runs = [run for _, run in each_readable(folders, _compared)]
    if not runs:
        raise Failure("none of these runs can be read")
    comparison = Comparison.of(runs)
    options.output.mkdir(parents=True, exist_ok=True)
    write_comparison(options.output, comparison)
    _print(comparison)
    print(f"page           {options.output / 'index.html'}")
    return 0


def _parse(arguments: list[str]) -> ReportOptions:
    description = "Compare runs: a table of what differs and what came of it, and curves."
    options = tyro.cli(ReportOptions, prog="vit report", description=description, args=arguments)
    if not options.runs:
        raise UsageFailure("name runs to compare, or a folder that holds some, such as runs")
    _check_output(options.output)
    return options


def _run_folders(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs that are named or lie below what is named, each once.

    Raises:
        UsageFailure: a path holds no run.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        below = [*_each_with_a_recipe(path)] if os.path.isdir(path) else []
        if not below:
            raise UsageFailure(f"{path} is no run and holds none: give folders with a recipe.json")
        found |= {folder.resolve(): RunFolder(folder) for folder in below}
    return list(found.values())


def _each_with_a_recipe(path: Path) -> Iterator[Path]:
    """The folders, in the order of their names; links are followed, and none is entered twice.

    A folder that cannot be listed, such as another person's, is named and passed over.
    """
    entered: set[str] = set()
    for folder, below, files in os.walk(path, followlinks=True, onerror=_pass_over):
        real = os.path.realpath(folder)
        if real in entered:
            below.clear()
            continue
        entered.add(real)
        below.sort()
        if "recipe.json" in files:
            yield Path(folder)


def _pass_over(error: OSError) -> None:
    logger.warning("the folder %s is passed over: %s", error.filename, error.strerror)


def _check_output(folder: Path) -> None:
    check_folder_can_be_written(folder)
    if folder.is_dir() and any(folder.iterdir()) and not _is_of_a_report(folder / "table.csv"):
        raise UsageFailure(
            f"{folder} holds other files and no report: choose another --output, or move them away"
        )


def _is_of_a_report(table: Path) -> bool:
    """Whether its header is one of this command's; many programs write a `table.csv`."""
    if not table.is_file():
        return False
    with open(table, "rb") as file:
        beginning = file.read(_LONGEST_HEADER)
    return beginning.startswith(b"run,") and b",reached epoch,seconds,state" in beginning


def _compared(folder: RunFolder) -> "ComparedRun":
    from vision_transformers.report.comparison import FINISHED, ComparedRun
    from vision_transformers.report.metrics import read_metrics

    record = folder.record()
    recipe, data = record.recipe, record.recipe.data
    rows = read_metrics(folder.metrics) if folder.metrics.exists() else []
    timing = read_metrics(folder.timing) if folder.timing.exists() else []
    fields = {name: value for name, value in flat(recipe).items() if name not in CANNOT_CHANGE_THE_RESULT}
    state = FINISHED
    if not folder.is_finished:
        epochs = [0, *(row["epoch"] for row in rows if "epoch" in row)]
        state = f"stopped at epoch {epochs[-1]:.2f} of {recipe.epochs}" if recipe.steps is None else "stopped"
    images, place = record.environments[-1].data, data.path or data.root or data.name
    evaluations = [*_evaluations(folder)]
    return ComparedRun(str(folder.path), fields, images, place, rows, _seconds(timing), state, evaluations)


def _evaluations(folder: RunFolder) -> "Iterator[Evaluation]":
    """What `vit evaluate` wrote into the run; any other is named and passed over."""
    from vision_transformers.report.comparison import Evaluation

    for file in sorted(folder.path.glob("evaluation/*/metrics.json")):
        try:
            found = read_json(file)
            place = " and ".join(map(str, found["places"].values()))
            accuracy, lower, upper = (float(found["top_1"][name]) for name in ("accuracy", "lower", "upper"))
            warning = f"{found['warning']}" if "warning" in found else None
            name = f"{found['data']} {found['split']}"
            evaluation = Evaluation(name, place, accuracy, lower, upper, warning)
        except Failure as failure:
            logger.warning("an evaluation is passed over: %s", failure)
        except (KeyError, TypeError, AttributeError, ValueError):
            logger.warning("an evaluation is passed over: %s is not what this release writes", file)
        else:
            yield evaluation


def _seconds(timing: "Sequence[Row]") -> float | None:
    """Of training, in all processes; that a clock or a step goes back tells where one ended."""
    if not all("seconds" in row for row in timing):
        raise Failure("a line of its timing.jsonl does not say its seconds: take the line out")
    ends = [
        before["seconds"]
        for before, after in pairwise(timing)
        if after["seconds"] < before["seconds"] or after["step"] <= before["step"]
    ]
    return sum(ends) + timing[-1]["seconds"] if timing else None


def _print(comparison: "Comparison") -> None:
    """The table, on lines as long as they need to be; what many recipes differ in is left to the page."""
    hidden = comparison.differing if len(comparison.differing) > MOST_DIFFERING else ()
    judges = comparison.judges.values() if len(comparison.judges) > MOST_JUDGES else ()
    left_out = {*hidden, *(comparison.evaluated if judges else ())}
    columns = [column for column in comparison.shown if column not in left_out]
    texts = [comparison.texts(run) for run in comparison.runs]
    rows = [[row[column] for column in columns] for row in texts]
    rows.insert(0, [column.replace("_", " ") for column in columns])
    for line in aligned(rows):
        print(line)
    if judges:
        print(f"They were evaluated on {len(judges)} data sets, which the page has: {first_of([*judges])}.")
    for warning, mark in () if judges else comparison.warnings.items():
        print(f"{mark} {warning}")
    if hidden:
        print(f"Their recipes differ in {len(hidden)} fields, which the page has: {first_of(hidden)}.")
    for group in comparison.groups:
        print(
            f"{group.count} seeds, mean {group.measured.replace('_', ' ')} {group.mean:.2%} "
            f"({group.least:.2%} to {group.most:.2%}): {group.name}"
        )
