"""What an evaluation judged, a row for each picture: for spreadsheets and programs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vision_transformers.files import write_file
from vision_transformers.prediction import Guess
from vision_transformers.report.csv_records import csv_record

_COLUMNS = ("picture", "label", "guess", "probability", "baseline_guess", "baseline_probability")


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
    records = [csv_record(_COLUMNS)]
    for picture in pictures:
        guesses = (*_values(picture.guess), *_values(picture.baseline))
        records.append(csv_record((picture.name, picture.label, *guesses)))
    write_file(file, "".join(records).encode(errors="backslashreplace"))


def _values(guess: Guess | None) -> tuple[str | None, float | None]:
    return (None, None) if guess is None else (guess.label, guess.probability)
