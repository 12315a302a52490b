"""Diagrams of one pixel, for tests that do not look at them: to draw them takes longer than a short run."""

import io

from matplotlib.figure import Figure
from PIL import Image


def png(_: Figure) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (1, 1)).save(content, "PNG")
    return content.getvalue()


def svg(_: Figure) -> bytes:
    return b""
