"""Pages that open from the disk, without a network: one file each, with everything in it."""

import base64
from functools import cache
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from vision_transformers.report.sheet import encode_png
from vision_transformers.report.style import Drawing


def fill_template(name: str, **values: Any) -> bytes:
    """A page out of its template; every value is escaped, and a name need not be valid Unicode."""
    return _environment().get_template(name).render(**values).encode(errors="backslashreplace")


def inline_drawing(drawing: Drawing, alternative: str) -> Markup:
    """A drawing, light or dark as the person's screen is, with the text that is read where it is not seen."""
    light, dark = (_data_uri(content, "image/svg+xml") for content in (drawing.light, drawing.dark))
    return Markup(
        '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
        '<img class="drawing" src="{light}" alt="{alternative}"></picture>'
    ).format(light=light, dark=dark, alternative=alternative)


def picture_uri(pixels: UInt8[np.ndarray, "height width channels"]) -> str:
    """A picture inside a page."""
    return _data_uri(encode_png(pixels), "image/png")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vision_transformers.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment


def _percent(share: float, places: int = 2) -> str:
    """A share of 0 to 1 as a person reads it."""
    return f"{100 * share:.{places}f} %"
