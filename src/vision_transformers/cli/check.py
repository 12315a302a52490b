"""`vit check PATH [OPTIONS]`: look at every picture of a folder before a model learns from them."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.tables import aligned
from vision_transformers.errors import DataFailure, Failure, UsageFailure
from vision_transformers.files import check_can_be_written, write_json
from vision_transformers.report.predictions import printable

if TYPE_CHECKING:
    from vision_transformers.data.inspection.finding import Finding, Item
    from vision_transformers.data.inspection.inspected import Inspection

DESCRIPTION = """Look at every picture of a folder before a model learns from them: what cannot be read,
what lies in two places, what is unusual, and what to do about it.

The exit code is 3 if something would stop a training or make its numbers untrue: pictures that
cannot be read; copies between parts or classes, or in one class where a lot decides what is learned
from and what judges; classes that are empty, missing in a part, or too small to be split. Pictures
that are nearly the same (made smaller, compressed anew, lighter, grey, mirrored) are notes: look
whether they are."""
NAMED = 5
"""Files that the terminal names of each finding."""
COPIES = 3
"""Copies of one picture that it names."""
MOST_CLASSES = 20
"""Of which it shows a table."""
FORMAT_VERSION = 1

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckOptions:
    """Pictures, and where to write what was found."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A folder of pictures, as `vit train folder --data.path PATH` takes it. Nothing in it is changed."""
    output: Path | None = None
    """A .json file for all that was found, with every path; the terminal names the first of each kind."""
    workers: int = 2
    """Processes that decode; 0 for none beside this one. Changes nothing that is found."""


def main(arguments: list[str]) -> int:
    """Looks at all pictures and says what it found; returns the exit code.

    0 if nothing would stop a training or make its numbers untrue; else 3, and 3 as well if the folder is not
    arranged as it must be.
    """
    options = _parse(arguments)
    from vision_transformers.data.inspection.findings import findings_about

    inspection = _inspect(options)
    _logger.info("comparing the pictures with each other")
    findings = findings_about(inspection)
    _print(inspection, findings)
    if options.output is not None:
        write_json(options.output, _for_programs(inspection, findings))
    return DataFailure.exit_code if any(finding.is_problem for finding in findings) else 0


def _parse(arguments: list[str]) -> CheckOptions:
    options = tyro.cli(CheckOptions, prog="vit check", description=DESCRIPTION, args=arguments)
    check_least(options, workers=0)
    if not options.path.is_dir():
        raise UsageFailure(f"there is no folder {options.path}: name one that has a folder for each class")
    if options.output is not None:
        _check_output(options.output, options.path)
    return options


def _check_output(output: Path, folder: Path) -> None:
    """Whether a file can be written there that is none of the pictures, nor anything else beside them."""
    if output.suffix != ".json":
        raise UsageFailure(f"--output is {output}: its ending should be .json")
    if output.resolve().is_relative_to(folder.resolve()):
        raise UsageFailure(
            f"{output} is in the folder that is looked at, where nothing is changed: choose another"
        )
    check_can_be_written(output)


def _inspect(options: CheckOptions) -> "Inspection":
    from vision_transformers.data.inspection.inspected import Inspection, list_folder
    from vision_transformers.data.inspection.looking import look_at_all
    from vision_transformers.data.progress import telling

    listing = list_folder(options.path)
    try:
        looked = look_at_all(listing.pictures, options.workers)
        return Inspection.of(listing, telling(looked, len(listing.pictures)))
    except OSError as error:
        raise Failure(
            f"the pictures cannot be read: {error}. If memory or open files are short, try fewer --workers"
        ) from error


def _for_programs(inspection: "Inspection", findings: "list[Finding]") -> dict[str, Any]:
    listing, sizes = inspection.listing, inspection.sizes
    grey = Counter(one.class_folder.folder for one in inspection.seen if one.picture.is_grey)
    readable = Counter(one.class_folder.folder for one in inspection.seen)
    return {
        "format_version": FORMAT_VERSION,
        "folder": str(listing.folder),
        "pictures": len(listing.pictures),
        "readable": len(inspection.seen),
        "classes": listing.classes,
        "class_folders": [
            {
                "part": one.part,
                "class": one.name,
                "pictures": len(one.pictures),
                "readable": readable[one.folder],
                "grey": grey[one.folder],
            }
            for one in listing.class_folders
        ],
        "sizes": {name: list(size) for name, size in _sizes(sizes).items()},
        "findings": [
            {
                "kind": finding.kind,
                "is_problem": finding.is_problem,
                "summary": finding.summary,
                "remedy": finding.remedy,
                "items": [
                    {"paths": [str(path) for path in item.paths], "reason": item.reason}
                    for item in finding.items
                ],
            }
            for finding in findings
        ],
    }


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Width and height of three of them; of none, where no picture could be read."""
    if not sizes:
        return {}
    return {"smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]}


def _print(inspection: "Inspection", findings: "list[Finding]") -> None:
    for line in (*_facts(inspection), *_counts(inspection)):
        print(line)
    for finding in findings:
        print()
        for line in _about(finding):
            print(line)
    problems = sum(finding.is_problem for finding in findings)
    print(f"\nproblems: {problems}, notes: {len(findings) - problems}")


def _facts(inspection: "Inspection") -> Iterator[str]:
    listing = inspection.listing
    folder, classes = printable(str(listing.folder)), len(listing.classes)
    yield f"{folder}: {len(listing.pictures):,} pictures, {classes:,} classes"
    sizes = [f"{name} {width} x {height}" for name, (width, height) in _sizes(inspection.sizes).items()]
    grey = sum(one.picture.is_grey for one in inspection.seen)
    yield f"sizes   {', '.join(sizes) or 'none could be read'} (width x height)"
    yield f"grey    {grey:,} of {len(inspection.seen):,}"


def _counts(inspection: "Inspection") -> Iterator[str]:
    """How many pictures each class has in each part; of many classes, the least and the most."""
    listing = inspection.listing
    counts = {(one.part, one.name): len(one.pictures) for one in listing.class_folders}
    if len(listing.classes) > MOST_CLASSES:
        for part in listing.parts:
            of_part = sorted((count, name) for (place, name), count in counts.items() if place == part)
            (least, smallest), (most, largest) = of_part[0], of_part[-1]
            names = f"{least:,} ({printable(smallest)}) to {most:,} ({printable(largest)})"
            yield f"{part}: {sum(count for count, _ in of_part):,} pictures, of a class {names}"
        return
    rows = [["class", *listing.parts]]
    for name in listing.classes:
        rows.append([printable(name), *(f"{counts.get((part, name), 0):,}" for part in listing.parts)])
    yield from aligned(rows)


def _about(finding: "Finding") -> Iterator[str]:
    yield f"{'PROBLEM' if finding.is_problem else 'note'}: {printable(finding.summary)}"
    yield f"  {printable(finding.remedy)}."
    for item in finding.items[:NAMED]:
        yield f"    {_item(item)}"
    if len(finding.items) > NAMED:
        yield f"    and {len(finding.items) - NAMED:,} more, which --output FILE.json has"


def _item(item: "Item") -> str:
    """On one line, whatever the names hold; a reason that says the path stands for it."""
    names = [printable(str(path)) for path in item.paths[:COPIES]]
    more = [f"{len(item.paths) - COPIES:,} more"] if len(item.paths) > COPIES else []
    if str(item.paths[0]) in item.reason:
        return printable(item.reason)
    return (" = " if item.are_equal else " ~ ").join([*names, *more]) + (
        f" ({printable(item.reason)})" if item.reason else ""
    )
