"""The numbers of a run, one JSON object a line: metrics.jsonl, timing.jsonl, and metrics.csv."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from vision_transformers.errors import Failure
from vision_transformers.files import explained, sync, write_file

Row = dict[str, int | float]
"""What is known about one step: `step`, `epoch`, then measurements such as `validation_accuracy` (0 to 1)."""


class RowLog:
    """Rows that are appended to a file, each with one write of a complete line.

    Floats are written by `repr`, so they are read back exactly; those that are not finite are `NaN` and
    `Infinity`, as Python's json has them.
    """

    def __init__(self, path: Path, byte_length: int | None = None) -> None:
        """Opens a log to go on with it, or makes an empty one.

        Args:
            path: The file; it is made if it is missing.
            byte_length: Cuts the file to this length, which `durable_length` gave; None keeps every
                complete line.

        Raises:
            Failure: The file is shorter than `byte_length`, or cannot be written.
        """
        self.path = path
        try:
            content = _content(path)
            kept = content.rfind(b"\n") + 1 if byte_length is None else byte_length
            if len(content) < kept or not (content[:kept] or b"\n").endswith(b"\n"):
                raise Failure(
                    f"{path} has {len(content):,} bytes and should have {kept:,}, up to the end of a line: "
                    "it was cut or changed. Put it back as it was, or start a new run"
                )
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - it stays open between rows
            self._file.truncate(kept)
            sync(path.parent)
        except OSError as error:
            raise explained(error, path) from error

    def append(self, row: Row) -> None:
        """Writes one row; it is with the operating system, though not yet durable, when this returns.

        Raises:
            Failure: The disk is full, or the file cannot be written for another reason.
        """
        line = memoryview(json.dumps(row).encode() + b"\n")
        try:
            # A full disk takes a part of the line without an error; only writing the rest tells why.
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise explained(error, self.path) from error

    def durable_length(self) -> int:
        """The length of the file in bytes, once all of them would survive a loss of power."""
        try:
            sync(self.path)
        except OSError as error:
            raise explained(error, self.path) from error
        return self.path.stat().st_size

    def close(self) -> None:
        """Closes the file; closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> "RowLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class MetricsLog(RowLog):
    """The truth about a run: steps only ascend, so there are never two rows for one step."""

    def __init__(self, path: Path, byte_length: int) -> None:
        """Opens the log of a run at what its checkpoint knows of it: 0 for a new run.

        Raises:
            Failure: The file is shorter than `byte_length`, was changed, or cannot be written.
        """
        rows = _rows(_content(path)[:byte_length], path)
        self._last_step = rows[-1]["step"] if rows else -1
        super().__init__(path, byte_length)

    def append(self, row: Row) -> None:
        """Writes the row of a step that is later than those written before."""
        if row["step"] <= self._last_step:
            raise ValueError(f"step {row['step']} comes after step {self._last_step} in {self.path}")
        super().append(row)
        self._last_step = row["step"]


def read_metrics(path: Path) -> list[Row]:
    """Reads every complete row; the beginning of a line that a killed run left at the end is passed over.

    Raises:
        Failure: The file is missing, or a complete line is not a row; the message has its number.
    """
    if not path.exists():
        raise Failure(f"{path} is missing")
    return _rows(_content(path), path)


def of_kept_weights(rows: Sequence[Row]) -> Row:
    """The last row of a finished run, with the validation of the weights that it kept, if not the last."""
    last = rows[-1] if rows else {}
    if "best_validation_accuracy" not in last:
        return last
    validated = (row for row in rows if "validation_accuracy" in row)
    best = max(validated, key=lambda row: row["validation_accuracy"])
    return last | {name: best[name] for name in ("validation_loss", "validation_accuracy")}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes rows for spreadsheets; the columns are all keys, in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, table.getvalue())


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _rows(content: bytes, path: Path) -> list[Row]:
    complete_lines = content.split(b"\n")[:-1]
    return [_row(line, f"line {number} of {path}") for number, line in enumerate(complete_lines, start=1)]


def _row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Failure(f"{where} is not JSON: {error}. Correct the line, or take it out") from error
    if not isinstance(row, dict) or not all(type(value) in (int, float) for value in row.values()):
        raise Failure(f"{where} is not an object of numbers: {line[:80]!r}. Correct the line, or take it out")
    if "step" not in row:
        raise Failure(f"{where} does not say its step: {line[:80]!r}. Correct the line, or take it out")
    return row
