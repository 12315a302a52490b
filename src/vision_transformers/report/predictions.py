"""What was predicted, a row for each picture, in formats for people and for programs.

Names that are not valid Unicode are written with their odd bytes as `\\udcXX`. In jsonl every row is one
line, whatever the name; in csv a name with a newline stands in quotes, as RFC 4180 has it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

from vision_transformers.errors import UsageFailure
from vision_transformers.prediction import Guess
from vision_transformers.report.csv_records import csv_record

Format = Literal["table", "csv", "jsonl", "parquet"]
_ROWS_AT_ONCE = 4096
_WIDEST_LABEL = 28


@dataclass(frozen=True)
class PredictionRow:
    """One picture: its likeliest classes, or why it could not be read."""

    path: str
    top: tuple[Guess, ...] = ()
    error: str | None = None


@runtime_checkable
class ByteSink(Protocol):
    """Where rows go: a file, or standard output."""

    def write(self, content: bytes, /) -> object: ...

    def flush(self) -> None: ...


class PredictionWriter(ABC):
    """Takes rows one at a time; used as a context, whose end writes what is left."""

    @abstractmethod
    def write(self, row: PredictionRow) -> None: ...

    def __enter__(self) -> "PredictionWriter":
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def prediction_writer(format: Format, stream: ByteSink, classes: Sequence[str], top: int) -> PredictionWriter:
    """The writer of a format.

    Args:
        format: `table` for people, `csv`, `jsonl`, or `parquet` (an extra).
        stream: where to.
        classes: of the model, for the width of the table.
        top: how many classes a row names at most.

    Raises:
        UsageFailure: pyarrow, which parquet needs, is not installed.
    """
    match format:
        case "table":
            return _Table(stream, classes)
        case "csv":
            return _Csv(stream, top)
        case "jsonl":
            return _JsonLines(stream)
        case "parquet":
            return _Parquet(stream, top)


class _Lines(PredictionWriter):
    """Text that is written a line at a time, so that whoever reads along sees it at once."""

    def __init__(self, stream: ByteSink) -> None:
        self.stream = stream

    def line(self, text: str) -> None:
        self.stream.write(text.encode(errors="backslashreplace"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.flush()


class _Table(_Lines):
    """Aligned columns; the path comes last, since nobody knows how long it is."""

    def __init__(self, stream: ByteSink, classes: Sequence[str]) -> None:
        super().__init__(stream)
        self.width = min(max((len(name) for name in classes), default=5), _WIDEST_LABEL)

    def __enter__(self) -> "PredictionWriter":
        self.line(f"{'label':<{self.width}}  probability  picture\n")
        return self

    def write(self, row: PredictionRow) -> None:
        """A line: the label with its probability, the picture, and in brackets what else it may be."""
        path = printable(row.path)
        if row.error is not None:
            self.line(f"{'-':<{self.width}}  {'-':>11}  {path}  ({printable(row.error)})\n")
            return
        if not row.top:  # of a model without a head
            self.line(f"{'-':<{self.width}}  {'-':>11}  {path}\n")
            return
        first, *others = row.top
        more = ", ".join(f"{printable(one.label)} {one.probability:.1%}" for one in others)
        label, probability = printable(first.label), f"{first.probability:.2%}"
        self.line(f"{label:<{self.width}}  {probability:>11}  {path}{f'  ({more})' if more else ''}\n")


class _Csv(_Lines):
    """Columns path, label, index, probability, then label_2, index_2, probability_2, ..., last error."""

    def __init__(self, stream: ByteSink, top: int) -> None:
        super().__init__(stream)
        self.top = top

    def __enter__(self) -> "PredictionWriter":
        self.line(csv_record(_columns(self.top)))
        return self

    def write(self, row: PredictionRow) -> None:
        """A record; text that a spreadsheet would take for a formula gets an apostrophe in front."""
        self.line(csv_record(_values(row, self.top)))


class _JsonLines(_Lines):
    """Objects with path, label, index, probability, top (a list) and error."""

    def write(self, row: PredictionRow) -> None:
        """An object on a line; what there is none of is null."""
        first = vars(row.top[0]) if row.top else dict.fromkeys(("label", "index", "probability"))
        content = {"path": row.path, **first, "top": [vars(one) for one in row.top], "error": row.error}
        self.line(json.dumps(content) + "\n")


class _Parquet(PredictionWriter):
    """The columns of csv with their types, some thousand rows at a time."""

    def __init__(self, stream: ByteSink, top: int) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UsageFailure(
                'parquet needs pyarrow: install it with `pip install "vision_transformers[parquet]"`'
            ) from error
        kinds = {"index": pyarrow.int64(), "probability": pyarrow.float64()}
        self.pyarrow = pyarrow
        self.schema = pyarrow.schema(
            [(name, kinds.get(name.split("_")[0], pyarrow.string())) for name in _columns(top)]
        )
        self.file = pyarrow.parquet.ParquetWriter(stream, self.schema)
        self.top = top
        self.rows: list[list[Any]] = []

    def write(self, row: PredictionRow) -> None:
        """Keeps the row until there are enough to write."""
        self.rows.append([_valid(value) for value in _values(row, self.top)])
        if len(self.rows) >= _ROWS_AT_ONCE:
            self._write_rows()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_rows()
        self.file.close()

    def _write_rows(self) -> None:
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.schema)
        arrays = [
            self.pyarrow.array(list(column), field.type)
            for column, field in zip(columns, self.schema, strict=True)
        ]
        self.file.write_table(self.pyarrow.Table.from_arrays(arrays, schema=self.schema))
        self.rows = []


def _columns(top: int) -> list[str]:
    guesses = [
        name if place == 1 else f"{name}_{place}"
        for place in range(1, top + 1)
        for name in ("label", "index", "probability")
    ]
    return ["path", *guesses, "error"]


def _values(row: PredictionRow, top: int) -> list[Any]:
    guesses = [value for one in row.top for value in (one.label, one.index, one.probability)]
    return [row.path, *guesses, *[None] * (3 * top - len(guesses)), row.error]


def _valid(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def printable(text: str) -> str:
    """Text on one line: what would move the cursor is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in text
    )
