"""`tensorboard --logdir runs` shows each run once, with curves that never run backwards."""

import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from vision_transformers.report.tensorboard import TensorBoard, tag


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow; the system says so as it says that a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_row_becomes_curves_grouped_by_split(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.scalars({"step": 5, "epoch": 0.5, "train_loss": 0.25, "validation_accuracy": 0.5})
    board.scalars({"step": 5, "epoch": 0.5, "images_per_second": 2048.0})
    board.close()
    assert sorted(read(tmp_path).Tags()["scalars"]) == [
        "images_per_second",
        "train/loss",
        "validation/accuracy",
    ]
    assert curve(tmp_path, "train/loss") == [(5, 0.25)]
    assert curve(tmp_path, "images_per_second") == [(5, 2048.0)]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("test_accuracy", "test/accuracy"),
        ("validation_accuracy_top5", "validation/accuracy_top5"),
        ("learning_rate", "learning_rate"),
        ("gradient_norm", "gradient_norm"),
        ("test", "test"),
    ],
)
def test_names_of_curves(key: str, name: str) -> None:
    assert tag(key) == name


def test_a_row_is_shown_while_the_run_still_goes(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.scalars({"step": 1, "train_loss": 1.0})
    assert curve(tmp_path, "train/loss") == [(1, 1.0)]
    board.close()


def test_a_resumed_run_has_one_value_for_each_step(tmp_path: Path) -> None:
    for first_step, last_step, value in [(0, 8, 0.5), (4, 6, 0.25), (6, 8, 0.125)]:
        board = TensorBoard(tmp_path, first_step)
        for step in range(first_step, last_step + 1):
            board.scalars({"step": step, "train_loss": value})
        board.close()
    assert curve(tmp_path, "train/loss") == [
        *((step, 0.5) for step in range(4)),
        *((step, 0.25) for step in (4, 5)),
        *((step, 0.125) for step in (6, 7, 8)),
    ]


def test_an_event_that_a_kill_cut_in_two_hides_nothing_of_the_resumed_run(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    for step in (1, 2):
        board.scalars({"step": step, "train_loss": 0.5})
    board.close()
    (file,) = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - 3)
    board = TensorBoard(tmp_path, first_step=2)
    board.scalars({"step": 2, "train_loss": 0.25})
    board.close()
    assert curve(tmp_path, "train/loss") == [(1, 0.5), (2, 0.25)]


def test_hyperparameters_belong_to_the_run_and_add_no_other(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path / "run")
    board.hyperparameters(
        {
            "optimizer.learning_rate": 3e-4,
            "model.patch_shape": (4, 4),
            "compile": True,
            "seed": 1,
            "best": None,
            "data.path": "pictures-\udcff",  # a name of a file need not be valid Unicode
        }
    )
    board.scalars({"step": 1, "validation_accuracy": 0.5})
    board.close()

    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert list(runs.Runs()) == ["run"]
    contents = runs.GetAccumulator("run").PluginTagToContent("hparams")
    plugin = HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    values = plugin.session_start_info.hparams
    assert values["optimizer.learning_rate"].number_value == 3e-4
    assert values["model.patch_shape"].string_value == "(4, 4)"
    assert values["compile"].bool_value is True
    assert values["best"].string_value == "None"
    assert values["data.path"].string_value == "pictures-\\udcff"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_shown_pixel_for_pixel(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, channels), dtype=np.uint8)
    board = TensorBoard(tmp_path)
    board.image("first_batch", pixels, step=0)
    board.close()
    (image,) = read(tmp_path).Images("first_batch")
    assert (image.height, image.width) == (6, 9)
    shown = np.asarray(Image.open(BytesIO(image.encoded_image_string)))
    np.testing.assert_array_equal(shown.reshape(pixels.shape), pixels)


def test_a_full_disk_is_reported_once_and_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board = TensorBoard(tmp_path)
    with full_disk(), caplog.at_level(logging.WARNING):
        for step in range(3):
            board.scalars({"step": step, "train_loss": 0.5})
    board.close()
    (record,) = caplog.records
    assert "TensorBoard gets no more of this run, which goes on" in record.message
    assert str(tmp_path) in record.message


def test_a_folder_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    board = TensorBoard(tmp_path / "run")
    board.scalars({"step": 1, "train_loss": 0.5})
    board.close()
    assert len(caplog.records) == 1


def test_a_mistake_in_the_program_is_not_hidden(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    with pytest.raises(TypeError):
        board.scalars({"step": 1, "train_loss": "low"})  # type: ignore[dict-item]
    board.close()
