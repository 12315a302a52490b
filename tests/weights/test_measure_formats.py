"""The table of measured differences has a row for each architecture that is measured."""

from pathlib import Path

from tests.weights.measure_formats import OPTIONS

GUIDE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_guides_rows_are_those_that_are_measured() -> None:
    _, _, measured = GUIDE.read_text(encoding="utf-8").partition("| format | architecture |")
    rows = [line.split(" | ")[:2] for line in measured.splitlines() if line.count(" | ") == 4]
    found = [(format.removeprefix("| "), name) for format, name in rows if "---" not in name]
    expected = [(format, name) for format, table in OPTIONS.items() for name in table]
    assert found == expected, "to measure them anew: python -m tests.weights.measure_formats"
