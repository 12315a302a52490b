"""The numbers of a run survive whatever happens to the process that writes them."""

import csv
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vision_transformers.errors import Failure
from vision_transformers.report.metrics import (
    MetricsLog,
    Row,
    RowLog,
    of_kept_weights,
    read_metrics,
    write_csv,
)

ROWS = [
    {"step": 10, "epoch": 0.5, "train_loss": 0.1 + 0.2, "learning_rate": 1e-300},
    {"step": 20, "epoch": 1.0, "train_loss": 2 / 3, "validation_accuracy": 0.975},
    {"step": 30, "epoch": 1.5, "train_loss": 5e-324},
]

WRITER = """
import sys
from pathlib import Path
from vision_transformers.report.metrics import MetricsLog
log = MetricsLog(Path(sys.argv[1]), 0)
for step in range(1, 10**9):
    log.append({"step": step, "train_loss": 1 / step})
    if step == 50:
        print(log.durable_length(), flush=True)
    if step == 500:
        print("many", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_numbers_are_read_back_to_the_last_bit(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        for row in ROWS:
            log.append(row)
    assert read_metrics(path) == ROWS


def test_a_loss_that_is_not_finite_is_recorded(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        log.append({"step": 1, "train_loss": math.nan, "gradient_norm": math.inf})
    (row,) = read_metrics(path)
    assert math.isnan(row["train_loss"])
    assert row["gradient_norm"] == math.inf


def test_a_row_can_be_read_as_soon_as_it_is_written(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        log.append(ROWS[0])
        assert read_metrics(path) == ROWS[:1]


@pytest.mark.parametrize("kept", range(len(ROWS) + 1))
def test_resuming_drops_what_came_after_the_checkpoint_and_nothing_else(path: Path, kept: int) -> None:
    with MetricsLog(path, 0) as log:
        lengths = [log.durable_length()]
        for row in ROWS:
            log.append(row)
            lengths.append(log.durable_length())
    whole = path.read_bytes()
    with MetricsLog(path, lengths[kept]) as log:
        assert read_metrics(path) == ROWS[:kept]
        for row in ROWS[kept:]:
            log.append(row)
    assert path.read_bytes() == whole


def test_a_step_has_one_row_even_after_resuming(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        log.append(ROWS[1])
        length = log.durable_length()
    with MetricsLog(path, length) as log, pytest.raises(ValueError, match="step 20 comes after step 20"):
        log.append(ROWS[1])


def test_a_step_has_one_row_in_one_session_too(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        log.append({"step": 2})
        for step in (1, 2):
            with pytest.raises(ValueError, match=f"step {step} comes after step 2"):
                log.append({"step": step})


def test_rows_and_the_name_of_their_file_outlive_a_loss_of_power(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        durable.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with RowLog(path) as log:
        assert path.parent.stat().st_ino in durable
        durable.clear()
        log.append({"step": 1})
        assert log.durable_length() == path.stat().st_size > 0
        assert path.stat().st_ino in durable


def test_a_file_that_somebody_cut_is_refused_and_left_as_it_is(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        for row in ROWS:
            log.append(row)
        length = log.durable_length()
    os.truncate(path, length - 5)
    before = path.read_bytes()
    with pytest.raises(Failure, match=f"{length - 5} bytes and should have {length}"):
        MetricsLog(path, length)
    assert path.read_bytes() == before


def test_a_length_in_the_middle_of_a_line_is_refused(path: Path) -> None:
    with MetricsLog(path, 0) as log:
        log.append(ROWS[0])
    with pytest.raises(Failure, match="up to the end of a line"):
        MetricsLog(path, 5)


def test_a_killed_run_loses_no_complete_row(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    length = int(writer.stdout.readline())
    assert writer.stdout.readline() == "many\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()

    rows = read_metrics(path)
    assert len(rows) >= 500
    assert rows == [{"step": step, "train_loss": 1 / step} for step in range(1, len(rows) + 1)]
    MetricsLog(path, length).close()
    assert read_metrics(path) == rows[:50]


def test_the_beginning_of_a_last_line_does_not_spoil_the_rows_before(path: Path) -> None:
    path.write_bytes(b'{"step": 1}\n{"step": 2, "tra')
    assert read_metrics(path) == [{"step": 1}]


@pytest.mark.parametrize(
    "garbage", [b"{", b"", b"[1]", b'{"step": "2"}', b'{"step": true}', b'{"epoch": 1.0}', b"\xff"]
)
def test_garbage_before_the_end_is_named_by_its_line(path: Path, garbage: bytes) -> None:
    path.write_bytes(b'{"step": 1}\n' + garbage + b'\n{"step": 3}\n')
    with pytest.raises(Failure, match=f"line 2 of {path}"):
        read_metrics(path)


def test_metrics_that_are_missing_are_named(path: Path) -> None:
    with pytest.raises(Failure, match=r"metrics\.jsonl is missing"):
        read_metrics(path)


def test_a_timing_log_goes_on_after_a_kill_and_may_repeat_steps(tmp_path: Path) -> None:
    path = tmp_path / "timing.jsonl"
    path.write_bytes(b'{"step": 1, "seconds": 0.5}\n{"step": 2, "sec')
    with RowLog(path) as log:
        log.append({"step": 1, "seconds": 0.25})
    assert read_metrics(path) == [{"step": 1, "seconds": 0.5}, {"step": 1, "seconds": 0.25}]


def test_a_file_that_may_not_grow_says_so(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with MetricsLog(path, 0) as log:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
            with pytest.raises(Failure, match=r"metrics\.jsonl would be larger"):
                log.append(ROWS[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)


def test_what_a_run_kept_is_named_with_its_own_validation() -> None:
    """Not with that of the last weights, which were thrown away; the test is of those that were kept."""
    rows: list[Row] = [
        {"step": 1, "validation_accuracy": 0.7, "validation_loss": 0.9, "best_validation_accuracy": 0.7},
        {"step": 2, "validation_accuracy": 0.8, "validation_loss": 0.5, "best_validation_accuracy": 0.8},
        {"step": 3, "train_loss": 0.2},
        {"step": 4, "validation_accuracy": 0.8, "validation_loss": 0.6, "best_validation_accuracy": 0.8}
        | {"test_accuracy": 0.6},
    ]
    kept = of_kept_weights(rows)
    assert (kept["validation_accuracy"], kept["validation_loss"]) == (0.8, 0.5)
    assert (kept["step"], kept["test_accuracy"]) == (4, 0.6)
    last_ones: list[Row] = [{"step": 1, "validation_accuracy": 0.9}, {"step": 2, "validation_accuracy": 0.8}]
    assert of_kept_weights(last_ones) == last_ones[-1]


def test_a_spreadsheet_has_every_column_and_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_csv(ROWS, path)
    with open(path, newline="") as file:
        table = csv.DictReader(file)
        read = [{key: json.loads(cell) for key, cell in row.items() if cell} for row in table]
    assert table.fieldnames == ["step", "epoch", "train_loss", "learning_rate", "validation_accuracy"]
    assert read == ROWS
