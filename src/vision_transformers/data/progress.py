"""How far a look at many files is: a line in the log every few seconds, and at the end."""

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
            speed = count / max(now - began, 1e-9)
            _logger.info(
                "looked at %s of %s pictures, %s a second", f"{count:,}", f"{total:,}", f"{speed:,.0f}"
            )
        yield one
