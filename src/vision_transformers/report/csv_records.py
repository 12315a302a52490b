"""One record of a csv file, in which any name is read back and none is run."""

import csv
import io
from collections.abc import Iterable
from typing import Any

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula when a spreadsheet opens a csv file."""


def csv_record(values: Iterable[Any]) -> str:
    """A record with the newline that ends it, as RFC 4180 quotes; None is an empty cell.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    # The writer quotes a carriage return only if its lines end with one.
    csv.writer(text).writerow([_harmless_in_spreadsheets(value) for value in values])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _harmless_in_spreadsheets(value: Any) -> Any:
    """A cell of a csv file; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_DANGEROUS) else value
