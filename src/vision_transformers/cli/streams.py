"""Standard output and standard error, where nobody reads them any more."""

import os
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Throws away what is written from here on, and what Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
