"""How a run looks on a terminal: a live line; elsewhere, a plain line every few seconds."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vision_transformers.cli.streams import silence
from vision_transformers.data.progress import SECONDS_BETWEEN_LINES, duration
from vision_transformers.report.metrics import Row
from vision_transformers.training.observer import WAITING_WORTH_SAYING, Observer, StepReport

logger = logging.getLogger(__name__)


@contextmanager
def watch(chosen: tuple[str, ...] = ()) -> Iterator[Observer]:
    """The observer for this terminal.

    Args:
        chosen: lines on what was decided for the run; printed when it begins, for until then it may fail.
    """
    console = Console()
    if not console.is_terminal:
        yield PlainLines(chosen)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield LiveLine(live, chosen)


def _begins(chosen: tuple[str, ...], folder: Path, description: str, step: int, total_steps: int) -> str:
    new = "1 step" if total_steps == 1 else f"{total_steps:,} steps"
    steps = new if step == 0 else f"on from step {step:,} of {total_steps:,}"
    return "\n".join((*chosen, description, f"{steps}, into {folder}"))


def _progress(report: StepReport) -> str:
    waiting = (
        f"  {report.waiting_share:.0%} waiting for data"
        if report.waiting_share >= WAITING_WORTH_SAYING
        else ""
    )
    left = "" if report.seconds_left is None else f"  {duration(report.seconds_left)} left"
    return (
        f"epoch {report.epoch:.2f}  step {report.step:,}/{report.total_steps:,}  loss {report.loss:.3f}  "
        f"accuracy {report.accuracy:.1%}  {report.images_per_second:,.0f} images/s{left}{waiting}"
    )


def _measured(row: Row) -> str | None:
    judged = [
        f"{part} loss {row[f'{part}_loss']:.4f}, accuracy {row[f'{part}_accuracy']:.2%}"
        for part in ("validation", "test")
        if f"{part}_loss" in row
    ]
    return f"epoch {row['epoch']:.2f}  {'  '.join(judged)}" if judged else None


def _give_up(error: OSError) -> None:
    """An output that fails is reported once and does not end the run."""
    silence(sys.stdout)
    logger.warning("nothing more of this run is printed, but it goes on: %s", error.strerror or error)


class PlainLines:
    """For logs: one line every few seconds of training, and likewise of validations."""

    def __init__(self, chosen: tuple[str, ...]) -> None:
        self.chosen = chosen
        self.last_step = self.last_validation = time.monotonic()

    def begins(self, folder: Path, description: str, step: int, total_steps: int) -> None:
        """Says what was found and where it goes."""
        self._print(_begins(self.chosen, folder, description, step, total_steps))

    def stepped(self, report: StepReport) -> None:
        """A line, if the last is some seconds old."""
        if time.monotonic() - self.last_step >= SECONDS_BETWEEN_LINES:
            self.last_step = time.monotonic()
            self._print(_progress(report))

    def measured(self, row: Row) -> None:
        """A line, if the last of its kind is some seconds old, or if this one has a test."""
        line = _measured(row)
        is_due = time.monotonic() - self.last_validation >= SECONDS_BETWEEN_LINES or "test_loss" in row
        if line is not None and is_due:
            self.last_validation = time.monotonic()
            self._print(line)

    def _print(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError as error:
            _give_up(error)


class LiveLine:
    """For people: one line that changes, under those of the validations."""

    def __init__(self, live: Live, chosen: tuple[str, ...]) -> None:
        self.live = live
        self.chosen = chosen

    def begins(self, folder: Path, description: str, step: int, total_steps: int) -> None:
        """Says what was found and where it goes."""
        self._print(_begins(self.chosen, folder, description, step, total_steps))

    def stepped(self, report: StepReport) -> None:
        """The line changes."""
        self.live.update(Text(_progress(report)))

    def measured(self, row: Row) -> None:
        """A validation leaves a line."""
        line = _measured(row)
        if line is not None:
            self._print(line)

    def _print(self, text: str) -> None:
        """As it is: brackets in a path are not markup."""
        try:
            self.live.console.print(text, highlight=False, markup=False)
        except OSError as error:  # the terminal has been closed
            _give_up(error)
