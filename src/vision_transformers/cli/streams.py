"""The standard streams, also where nobody is at their other end."""

import io
import os
import sys
from typing import TextIO

from vision_transformers.data.listing import ByteStream


def standard_input() -> ByteStream:
    """What is given on it; nothing where it is closed, as services often have it."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


def silence(stream: TextIO) -> None:
    """Throws away what is written from here on, and what Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
