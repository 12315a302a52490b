"""How far a look at many files is: a line in the log every few seconds with the time left, and at the end."""

import logging
import time
from collections.abc import Iterator
from typing import TypeVar

SECONDS_BETWEEN_LINES = 5.0

Item = TypeVar("Item")

_logger = logging.getLogger(__name__)


def telling(looked: Iterator[Item], total: int) -> Iterator[Item]:
    """The pictures that are looked at, as they come; says in between how many of how many there were."""
    began = last = time.monotonic()
    for count, one in enumerate(looked, 1):
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or count == total:
            last = now
            _logger.info("%s", _progress(count, total, max(now - began, 1e-9)))
        yield one


def duration(seconds: float) -> str:
    """As a clock has it: `0:05`, `1:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _progress(count: int, total: int, seconds: float) -> str:
    speed = count / seconds
    left = f", {duration((total - count) / speed)} left" if count < total else ""
    return f"looked at {count:,} of {total:,} pictures, {speed:,.{0 if speed >= 10 else 1}f} a second{left}"
