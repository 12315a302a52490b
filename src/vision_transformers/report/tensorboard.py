"""A run's event file, for `tensorboard --logdir`.

TensorBoard's own writer hands events to a thread, whose errors end in a traceback on the terminal. Here an
event is written when it is given: one small write, with errors where they can be met.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from vision_transformers.files import explained
from vision_transformers.report.metrics import Row
from vision_transformers.report.sheet import encode_png

logger = logging.getLogger(__name__)

_SPLITS = ("train", "validation", "test")
_POSITIONS = ("step", "epoch")


class TensorBoard:
    """Writes one run's events. A disk that fails is reported once and does not end the run."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        """Begins a new event file, which sorts after those that are there.

        Args:
            folder: The run folder.
            first_step: The first step that is going to be written. TensorBoard forgets what earlier files
                say of it and of later steps: a resumed run has one curve, without a zigzag.
        """
        self._path = folder / "events.out.tfevents.{}.{:09d}".format(*divmod(time.time_ns(), 10**9))
        self._records: RecordWriter | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(open(self._path, "xb"))  # noqa: SIM115 - it stays open between events
        except OSError as error:
            self._give_up(error)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, row: Row) -> None:
        """Writes the measurements of a row of metrics or timing at its step."""
        values = [
            Summary.Value(tag=tag(key), simple_value=value)
            for key, value in row.items()
            if key not in _POSITIONS
        ]
        self._write(Event(step=int(row["step"]), summary=Summary(value=values)))

    def image(self, tag: str, pixels: UInt8[np.ndarray, "height width channels"], step: int) -> None:
        """Writes a picture, grey (one channel) or RGB (three)."""
        height, width, channels = pixels.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encode_png(pixels)
        )
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)])))

    def hyperparameters(self, values: Mapping[str, Any]) -> None:
        """Writes what was chosen for the run, by dotted name, into the run itself.

        TensorBoard's table of hyperparameters takes its metrics from the run's scalars. To be called whenever
        a run begins or resumes: one that resumes at step 0 has lost those of before.
        """
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
        plain = {key: numbers.get(key, _text(value)) for key, value in values.items()}
        summary = Summary.FromString(hparams_pb(plain).SerializeToString())
        self._write(Event(summary=summary))

    def close(self) -> None:
        """Closes the file; what is given afterwards is not written."""
        records, self._records = self._records, None
        if records is not None:
            records.close()

    def _write(self, event: Event) -> None:
        if self._records is None:
            return
        event.wall_time = time.time()
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning(
            "TensorBoard gets no more of this run, which goes on: %s", explained(error, self._path)
        )
        with suppress(OSError):  # closing tries to write once more what has just failed
            self.close()


def _text(value: Any) -> str:
    """As valid Unicode, which the bytes of a file's name need not be."""
    return str(value).encode(errors="backslashreplace").decode()


def tag(key: str) -> str:
    """The name of a curve: `train_loss` is `train/loss`, `learning_rate` is `learning_rate`."""
    split, _, measurement = key.partition("_")
    return f"{split}/{measurement}" if split in _SPLITS and measurement else key
