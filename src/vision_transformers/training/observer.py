"""Who is told how a run goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from vision_transformers.report.metrics import Row

WAITING_WORTH_SAYING = 0.1
"""Part of the time."""


@dataclass(frozen=True)
class StepReport:
    """One step, as a person follows it."""

    step: int
    total_steps: int
    epoch: float
    """Passes over the training images that are done."""
    loss: float
    accuracy: float
    """Of this step's training images, 0 to 1."""
    images_per_second: float
    """Training images, by the clock: evaluating, explaining and saving in between takes its time, too."""
    seconds_left: float | None
    """None in the first steps of a process, which say little of the others."""
    waiting_share: float
    """Part of the time of steps that went to waiting for their data, 0 to 1."""


@runtime_checkable
class Observer(Protocol):
    """Shows a run to somebody; the default shows nothing."""

    def begins(self, folder: Path, description: str, step: int, total_steps: int) -> None:
        """The run begins, or goes on after `step` steps that are done."""

    def stepped(self, report: StepReport) -> None:
        """A step is done."""

    def measured(self, row: Row) -> None:
        """A row of metrics was written."""


class Silent:
    """Shows nothing."""

    def begins(self, folder: Path, description: str, step: int, total_steps: int) -> None:
        """Nothing."""

    def stepped(self, report: StepReport) -> None:
        """Nothing."""

    def measured(self, row: Row) -> None:
        """Nothing."""
