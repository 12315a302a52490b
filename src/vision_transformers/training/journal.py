"""What a run leaves while it goes: rows, pictures, checkpoints, and what the person who watches sees."""

import time
from types import TracebackType
from typing import Protocol, runtime_checkable

from vision_transformers.config import flat
from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.report.metrics import MetricsLog, Row, RowLog
from vision_transformers.report.tensorboard import TensorBoard
from vision_transformers.runtime.memory import peak_memory
from vision_transformers.training.checkpoint import save_checkpoint
from vision_transformers.training.explanations import draw_explanations
from vision_transformers.training.first_batch import draw_first_batch
from vision_transformers.training.observer import Observer, StepReport
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState


@runtime_checkable
class Journal(Protocol):
    """What the loop tells."""

    def draw_first_batch(self) -> None:
        """The first step is next."""

    def stepped(self, state: TrainingState, sums: ClassificationSums, waiting_share: float) -> None:
        """A step is done; so much of the time went to waiting for data, 0 to 1."""

    def write(self, row: Row) -> None:
        """A row of metrics, complete."""

    def draw_explanations(self, state: TrainingState) -> None:
        """It is time to look at some images."""

    def save(self, state: TrainingState) -> None:
        """A checkpoint of this moment is due."""

    def __enter__(self) -> "Journal":
        """Until it is left."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The loop has ended."""


class KeptJournal:
    """Keeps it in the run's folder, and tells the observer.

    Args:
        run: its folder gets the files.
        first_step: the first step that is going to be written.
        metrics_bytes: how long metrics.jsonl was at the checkpoint; it is cut to that.
        observer: who watches.
    """

    def __init__(self, run: Run, first_step: int, metrics_bytes: int, observer: Observer) -> None:
        self.run = run
        self.observer = observer
        self.metrics = MetricsLog(run.folder.metrics, metrics_bytes)
        self.timing = RowLog(run.folder.timing)
        self.board = TensorBoard(run.folder.path, first_step)
        self.board.hyperparameters(flat(run.recipe))
        self.pace = Pace(first_step - 1)
        self.waiting_share = 0.0

    def draw_first_batch(self) -> None:
        """Into `plots/` and TensorBoard."""
        draw_first_batch(self.run, self.board)

    def draw_explanations(self, state: TrainingState) -> None:
        """Into `plots/` and TensorBoard."""
        draw_explanations(self.run, state, self.board)

    def save(self, state: TrainingState) -> None:
        """Into `checkpoints/`."""
        described = self.run.describe_model()
        save_checkpoint(self.run.folder.checkpoints, state, described, self.metrics.durable_length())

    def stepped(self, state: TrainingState, sums: ClassificationSums, waiting_share: float) -> None:
        """For whoever watches."""
        self.waiting_share = waiting_share
        images_per_second = self.pace.images_per_second(state.step, sums.images)
        images_left = (self.run.total_steps - state.step) * sums.images
        self.observer.stepped(
            StepReport(
                step=state.step,
                total_steps=self.run.total_steps,
                epoch=state.step / self.run.order.batches_per_epoch,
                loss=sums.loss / sums.images,
                accuracy=sums.correct / sums.images,
                images_per_second=images_per_second,
                seconds_left=images_left / images_per_second if self.pace.tells(state.step) else None,
                waiting_share=waiting_share,
            )
        )

    def write(self, row: Row) -> None:
        """The row, and beside it what the clock says."""
        self.metrics.append(row)
        timing = {
            "step": row["step"],
            "seconds": time.monotonic() - self.pace.began,
            "images_per_second": self.pace.images_per_second(int(row["step"]), self.run.order.batch_size),
            "waiting_share": self.waiting_share,
            "memory_mebibytes": peak_memory(self.run.device),
        }
        self.timing.append(timing)
        self.board.scalars(row)
        self.board.scalars(timing)
        self.observer.measured(row)

    def __enter__(self) -> "KeptJournal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.metrics.close()
        self.timing.close()
        self.board.close()


class NoJournal:
    """Keeps nothing: another process of the run does."""

    def draw_first_batch(self) -> None:
        """Nothing."""

    def stepped(self, state: TrainingState, sums: ClassificationSums, waiting_share: float) -> None:
        """Nothing."""

    def write(self, row: Row) -> None:
        """Nothing."""

    def draw_explanations(self, state: TrainingState) -> None:
        """Nothing."""

    def save(self, state: TrainingState) -> None:
        """Nothing."""

    def __enter__(self) -> "NoJournal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing."""


STEPS_THAT_TELL = 4
"""After so many of a process, their pace says something of the others."""


class Pace:
    """How fast this process gets through its training images, with validations, explanations and checkpoints
    in between, but without the first step, which warms up: what the time that is left depends on."""

    def __init__(self, first_step: int) -> None:
        self.first_step = first_step
        self.began = self._warm = time.monotonic()

    def tells(self, step: int) -> bool:
        """Whether step number `step` is late enough to foresee the end."""
        return step >= self.first_step + STEPS_THAT_TELL

    def images_per_second(self, step: int, images: int) -> float:
        """Images a second from the first step of this process to step number `step`."""
        now = time.monotonic()
        if step <= self.first_step + 1:
            self._warm = now
            return images / max(now - self.began, 1e-9)
        return (step - self.first_step - 1) * images / max(now - self._warm, 1e-9)
