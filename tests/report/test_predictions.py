"""Rows of predictions survive any name, and do no harm to whoever opens them."""

import csv
import io
import json

import pytest

from vision_transformers.prediction import Guess
from vision_transformers.report.predictions import Format, PredictionRow, prediction_writer

NAMES = [
    "plain.jpg",
    "with, comma.jpg",
    'with "quotes".jpg',
    "two\nlines.jpg",
    "größe.jpg",
    "not\udcffutf8.jpg",
]
TOP = (Guess("cat", 3, 0.75), Guess("dog", 1, 0.125))


def written(format: Format, rows: list[PredictionRow], top: int = 2) -> bytes:
    stream = io.BytesIO()
    with prediction_writer(format, stream, ["cat", "dog"], top) as writer:
        for row in rows:
            writer.write(row)
    return stream.getvalue()


def records(rows: list[PredictionRow]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written("csv", rows).decode(), newline="")))


def test_csv_has_every_name_and_number() -> None:
    rows = records([PredictionRow(name, TOP) for name in NAMES])
    assert [row["path"] for row in rows] == [*NAMES[:-1], r"not\udcffutf8.jpg"]
    for row in rows:
        assert (row["label"], row["index"], float(row["probability"])) == ("cat", "3", 0.75)
        assert (row["label_2"], row["index_2"], float(row["probability_2"])) == ("dog", "1", 0.125)
        assert row["error"] == ""
    assert list(rows[0])[-1] == "error"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_csv_runs_no_formula(text: str) -> None:
    row = records([PredictionRow(text, (Guess(text, 0, 0.5),)), PredictionRow("a", error=text)])
    assert row[0]["path"] == row[0]["label"] == row[1]["error"] == f"'{text}"
    assert float(row[0]["probability"]) == 0.5


def test_a_failure_has_its_error_and_no_numbers() -> None:
    (row,) = records([PredictionRow("bad.jpg", error="it is empty")])
    assert row == {
        "path": "bad.jpg",
        "error": "it is empty",
        **dict.fromkeys(("label", "index", "probability", "label_2", "index_2", "probability_2"), ""),
    }


def test_jsonl_is_one_line_a_row_and_gives_names_back() -> None:
    lines = written("jsonl", [PredictionRow(name, TOP) for name in NAMES]).decode().splitlines()
    assert [json.loads(line)["path"] for line in lines] == NAMES
    first = json.loads(lines[0])
    assert first["top"][1] == {"label": "dog", "index": 1, "probability": 0.125}
    assert (first["label"], first["error"]) == ("cat", None)
    failed = json.loads(written("jsonl", [PredictionRow("bad.jpg", error="empty")]))
    assert failed == {
        "path": "bad.jpg",
        "label": None,
        "index": None,
        "probability": None,
        "top": [],
        "error": "empty",
    }


def test_parquet_has_the_columns_with_their_types() -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, the extra `parquet`")
    rows = [PredictionRow(f"{number}.jpg", TOP) for number in range(5000)] + [
        PredictionRow("bad.jpg", error="empty")
    ]
    table = parquet.read_table(io.BytesIO(written("parquet", rows)))
    assert table.num_rows == 5001
    assert str(table.schema.field("index").type) == "int64"
    assert str(table.schema.field("probability_2").type) == "double"
    assert table.slice(4999, 2).to_pylist()[0]["label_2"] == "dog"
    assert table.slice(5000, 1).to_pylist()[0] == {
        "path": "bad.jpg",
        "error": "empty",
        **dict.fromkeys(("label", "index", "probability", "label_2", "index_2", "probability_2")),
    }
    assert parquet.read_table(io.BytesIO(written("parquet", []))).num_rows == 0


def test_a_model_without_a_head_has_no_numbers_in_the_table() -> None:
    """Its features are written elsewhere: `vit predict --features`."""
    lines = written("table", [PredictionRow("photo.jpg")]).decode().splitlines()
    assert lines[1].split() == ["-", "-", "photo.jpg"]


def test_a_table_is_one_line_a_row_for_people() -> None:
    text = written(
        "table", [PredictionRow(name, TOP) for name in NAMES] + [PredictionRow("bad", error="empty")]
    )
    lines = text.decode().splitlines()
    assert len(lines) == 1 + len(NAMES) + 1
    assert lines[1].split() == ["cat", "75.00%", "plain.jpg", "(dog", "12.5%)"]
    assert r"two\nlines.jpg" in lines[4]
    assert "bad  (empty)" in lines[-1]
