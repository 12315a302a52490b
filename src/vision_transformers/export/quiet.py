"""Remarks of exporters, which are for their developers, kept from a person's terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_errors_of(logger: logging.Logger) -> Iterator[None]:
    """While entered, nothing below an error is said through this logger."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
