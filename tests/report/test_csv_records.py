"""Records of csv files survive any name, and do no harm to whoever opens them."""

import csv
import io

import pytest

from vision_transformers.report.csv_records import csv_record


def test_any_text_is_read_back() -> None:
    values = ["plain", "with, comma", 'with "quotes"', "two\nlines", "carriage\rreturn", "both\r\n", "猫", ""]
    table = csv_record(values) + csv_record(["after"])
    assert list(csv.reader(io.StringIO(table, newline=""))) == [values, ["after"]]
    assert csv_record(["a", None, 0.1 + 0.2, -1]) == "a,,0.30000000000000004,-1\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_formula_is_run(text: str) -> None:
    assert list(csv.reader(io.StringIO(csv_record([text, "a"]), newline=""))) == [[f"'{text}", "a"]]
