"""A page for each explained picture, and one that leads to all; they open from disk, without a network."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float
from PIL import Image

from vision_transformers.report.explanation import Curves, Explanation
from vision_transformers.report.overlay import map_colours
from vision_transformers.report.page import fill_template, picture_uri

_THUMBNAIL = 240


def explanation_page(explanation: Explanation) -> bytes:
    """A page on which one chooses method, class, layer and head, and slides the map over the picture."""
    content: dict[str, Any] = {
        "methods": {
            name: {
                "words": method.words,
                "maps": [{"label": each.label, "colours": _encoded(each.values)} for each in method.maps],
            }
            for name, method in explanation.methods.items()
        }
    }
    if explanation.attention is not None:
        content["attention"] = [
            [_encoded(layer.mean(axis=0)), *(_encoded(head) for head in layer)]
            for layer in explanation.attention
        ]
    return fill_template(
        "explanation.html",
        explanation=explanation,
        content=content,
        grid=explanation.methods[explanation.method].maps[0].values.shape,
        picture=picture_uri(explanation.picture),
        overlay=picture_uri(explanation.overlay()),
        curves={name: _points(method.curves) for name, method in explanation.methods.items()},
        words={name: method.curves.in_words() for name, method in explanation.methods.items()},
    )


@dataclass(frozen=True)
class IndexEntry:
    """What an index shows of one explanation, of which there may be more than fit into memory."""

    address: str
    name: str
    label: str
    probability: float
    picture: str

    @classmethod
    def of(cls, file: str, explanation: Explanation) -> "IndexEntry":
        """That of the page in a file beside the index."""
        picture = picture_uri(_small(explanation.overlay()))
        address = quote(os.fsencode(file))
        return cls(address, explanation.name, explanation.label, explanation.probability, picture)


def index_page(title: str, entries: Sequence[IndexEntry]) -> bytes:
    """A page that leads to all others."""
    return fill_template("explanations.html", title=title, entries=entries)


def _points(curves: Curves) -> dict[str, str]:
    """Lines and bands as the points of an SVG drawing of 100 x 100."""

    def points(fractions: np.ndarray, values: np.ndarray) -> str:
        return " ".join(f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y in zip(fractions, values, strict=True))

    there_and_back = np.concatenate([curves.fractions, curves.fractions[::-1]])
    drawn = {}
    for name in ("insertion", "deletion"):
        random = getattr(curves, f"random_{name}")
        band = np.concatenate([random.min(axis=0), random.max(axis=0)[::-1]])
        drawn[name] = points(curves.fractions, getattr(curves, name))
        drawn[f"random_{name}"] = points(there_and_back, band)
    return drawn


def _small(picture: np.ndarray) -> np.ndarray:
    """At most so long; each pixel of a very small one is a block."""
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    factor = max(1, _THUMBNAIL // max(image.size))
    return np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1)


def _encoded(values: Float[np.ndarray, "rows columns"]) -> str:
    """Colours and opacity of each patch, as the page's canvas takes them."""
    return base64.b64encode(map_colours(values).tobytes()).decode()
