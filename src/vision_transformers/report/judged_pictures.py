"""What an evaluation judged, a row for each picture: for spreadsheets and programs."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vision_transformers.files import write_file
from vision_transformers.prediction import Guess
from vision_transformers.report.predictions import harmless_in_spreadsheets


@dataclass(frozen=True)
class JudgedPicture:
    """A picture, what it shows, and what is thought of it."""

    name: str
    """Its file, or its place in a data set, such as `mnist test[17]`."""
    label: str
    guess: Guess
    baseline: Guess | None = None
    """Of the model beside which it is judged, if there is one."""


def write_judged_pictures(file: Path, pictures: Iterable[JudgedPicture]) -> None:
    """CSV with the columns picture, label, guess, probability, and the baseline's two, empty without one.

    Raises:
        Failure: the file cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["picture", "label", "guess", "probability", "baseline_guess", "baseline_probability"])
    for picture in pictures:
        guesses = (picture.guess, picture.baseline)
        values = [value for guess in guesses for value in _values(guess)]
        writer.writerow([harmless_in_spreadsheets(value) for value in (picture.name, picture.label, *values)])
    write_file(file, table.getvalue().encode(errors="backslashreplace"))


def _values(guess: Guess | None) -> tuple[str | None, float | None]:
    return (None, None) if guess is None else (guess.label, guess.probability)
