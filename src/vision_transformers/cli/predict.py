"""`vit predict MODEL IMAGE|FOLDER|- ... [OPTIONS]`: say what pictures show."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.streams import standard_input
from vision_transformers.errors import DataFailure, Failure, UsageFailure
from vision_transformers.files import check_can_be_written, fill_file
from vision_transformers.report.predictions import Format

if TYPE_CHECKING:
    from vision_transformers.classifier import Classifier, Outcome
    from vision_transformers.report.predictions import PredictionRow


ENDINGS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".txt": "table"}


@dataclass(frozen=True)
class PredictOptions:
    """A model, pictures, and what to write about them."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run or a model folder."""
    images: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE|FOLDER|- ...", help_behavior_hint="(required)"),
    ]
    """Files, folders with all below, globs such as "photos/**/*.jpg", or - for a list on standard input."""
    top_k: int = 3
    """How many classes to name for each picture."""
    format: Format | None = None
    """table for people; csv, jsonl or parquet for programs; by --output's ending if not given, else table."""
    output: Path | None = None
    """File to write, which appears whole or not at all; standard output if not given."""
    features: Path | None = None
    """An .npz file to write, with the vector of each picture that the classification head reads."""
    allow_errors: bool = False
    """End with exit code 0, not 3, though some pictures could not be read."""
    null: bool = False
    """The list on standard input is separated by zero bytes, as `find -print0` writes."""
    batch_size: int = 64
    """Pictures that are computed together."""
    workers: int = 2
    """Processes that decode; 0 decodes between the batches."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products."""

    @property
    def written_as(self) -> Format:
        """The format that is asked for, or that the file's name says."""
        ending = self.output.suffix if self.output is not None else ""
        return self.format or ENDINGS.get(ending, "table")


def main(arguments: list[str]) -> int:
    """Predicts as the arguments say; returns the exit code."""
    options = _parse(arguments)
    classifier = _load(options)
    counts = Counts()
    if options.output is None:
        _predict(options, classifier, sys.stdout.buffer, counts)
    else:
        fill_file(options.output, lambda temporary: _predict_into(options, classifier, temporary, counts))
    return _conclude(options, counts)


@dataclass
class Counts:
    """How it went."""

    pictures: int = 0
    failures: int = 0


def _parse(arguments: list[str]) -> PredictOptions:
    description = "Say what pictures show."
    options = tyro.cli(PredictOptions, prog="vit predict", description=description, args=arguments)
    _check(options)
    return options


def _check(options: PredictOptions) -> None:
    """Meets what makes no sense before anything is read.

    Raises:
        UsageFailure: names the option.
    """
    if not options.images:
        raise UsageFailure("name pictures: files, folders, or - for a list on standard input")
    check_least(options, top_k=1, batch_size=1, workers=0)
    if options.features is not None and options.features.suffix != ".npz":
        raise UsageFailure(f"--features is {options.features}: its ending should be .npz")
    if options.format == "parquet" and options.output is None:
        raise UsageFailure("parquet is no text: give a file with --output")
    ending = options.output.suffix if options.output is not None else ""
    if options.format is None and ending not in ("", *ENDINGS):
        raise UsageFailure(f"--output ends with {ending}: choose {', '.join(ENDINGS)}, or say --format")
    for path in (options.output, options.features):
        if path is not None:
            check_can_be_written(path)


def _load(options: PredictOptions) -> "Classifier":
    from vision_transformers.classifier import load

    classifier = load(options.model, device=options.device, precision=options.precision)
    if not classifier.classes and options.features is None:
        raise UsageFailure(f"{options.model} has no classification head: ask for --features FILE.npz")
    return classifier


def _predict_into(options: PredictOptions, classifier: "Classifier", path: Path, counts: Counts) -> None:
    with open(path, "wb") as stream:
        _predict(options, classifier, stream, counts)


def _predict(options: PredictOptions, classifier: "Classifier", stream: IO[bytes], counts: Counts) -> None:
    """Writes a row for each picture, and its features, as they come."""
    from vision_transformers.report.feature_file import FeatureFile
    from vision_transformers.report.predictions import prediction_writer

    top = min(options.top_k, max(len(classifier.classes), 1))
    with ExitStack() as stack:
        outcomes = _outcomes(options, classifier)
        rows = stack.enter_context(prediction_writer(options.written_as, stream, classifier.classes, top))
        features = None
        if options.features is not None:
            features = stack.enter_context(FeatureFile(options.features, classifier.feature_dimension))
        for outcome in outcomes:
            counts.pictures += 1
            counts.failures += outcome.failure is not None
            rows.write(_row(outcome))
            if features is not None and outcome.features is not None:
                features.write(str(outcome.source), outcome.features.numpy())


def _outcomes(options: PredictOptions, classifier: "Classifier") -> "Iterator[Outcome]":
    from vision_transformers.data.listing import find_pictures

    separator = b"\0" if options.null else b"\n"
    pictures = find_pictures(options.images, standard_input(), separator)
    outcomes = classifier.outcomes(
        pictures,
        options.top_k,
        options.batch_size,
        options.workers,
        with_features=options.features is not None,
    )
    return _read(outcomes)


def _read(outcomes: "Iterator[Outcome]") -> "Iterator[Outcome]":
    """The same; what the system refuses to those who read is not to be taken for an error of a file that is
    written meanwhile.

    Raises:
        Failure: it refuses to start workers, to open more files, ...
    """
    try:
        yield from outcomes
    except OSError as error:
        raise Failure(
            f"the pictures cannot be read: {error}. If memory or open files are short, try fewer --workers"
        ) from error


def _row(outcome: "Outcome") -> "PredictionRow":
    from vision_transformers.report.predictions import PredictionRow

    top = outcome.prediction.top if outcome.prediction is not None else ()
    error = str(outcome.failure) if outcome.failure is not None else None
    return PredictionRow(str(outcome.source), top, error)


def _conclude(options: PredictOptions, counts: Counts) -> int:
    """Says on standard error what the rows do not."""
    if counts.failures:
        print(
            f"vit: {counts.failures:,} of {counts.pictures:,} pictures could not be read; their rows say why",
            file=sys.stderr,
        )
        if not options.allow_errors:
            return DataFailure.exit_code
    return 0
