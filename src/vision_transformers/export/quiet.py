"""Remarks of exporters, which are for their developers, kept from a person's terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_errors_of(logger: logging.Logger) -> Iterator[None]:
    """While entered, nothing below an error is said through this logger."""
    level = logger.level
    kept = logging.NullHandler()  # without any, Python gives the root logger one that stays
    logger.setLevel(logging.ERROR)
    logger.addHandler(kept)
    try:
        yield
    finally:
        logger.removeHandler(kept)
        logger.setLevel(level)
