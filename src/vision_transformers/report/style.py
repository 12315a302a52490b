"""How drawings look: one style, on light and on dark paper, with equal bytes for equal drawings."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.style
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Palette:
    """Colours that go together."""

    ink: str
    muted: str
    faint: str
    frame: str
    paper: str
    series: tuple[str, ...]
    """Of Okabe and Ito (2008), which people with any kind of colour vision can tell apart."""

    @property
    def ramp(self) -> Colormap:
        """From nothing, which is the paper, to all."""
        return LinearSegmentedColormap.from_list("ramp", [self.paper, self.series[0]])


LIGHT = Palette(
    "#222222",
    "#6b6b6b",
    "#e4e4e4",
    "#b0b0b0",
    "#ffffff",
    ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a6a00"),
)
DARK = Palette(
    "#e8e8e8",
    "#a6a6a6",
    "#333a42",
    "#5a626b",
    "#14181d",
    ("#56B4E9", "#E69F00", "#2fc79a", "#e39ac4", "#F0E442", "#7fa8ff", "#ff8a5c"),
)


def render(draw: Callable[[Palette], Figure], palette: Palette, kind: Literal["png", "svg"]) -> bytes:
    """A figure as the bytes of a file: equal whatever the person's own matplotlib settings are.

    Args:
        draw: makes the figure; called with the style in force.
        palette: light or dark.
        kind: `svg` for pages, `png` for files.
    """
    with matplotlib.style.context(["default", _style(palette)]):
        figure = draw(palette)
        image = io.BytesIO()
        metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        figure.savefig(image, format=kind, metadata=metadata)
    return image.getvalue()


def _style(palette: Palette) -> dict[str, Any]:
    return {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "figure.facecolor": palette.paper,
        "axes.facecolor": palette.paper,
        "savefig.facecolor": palette.paper,
        "text.color": palette.ink,
        "axes.edgecolor": palette.frame,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": palette.muted,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": palette.faint,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.framealpha": 0.85,
        "legend.edgecolor": "none",
        "lines.linewidth": 1.8,
        "lines.markeredgecolor": palette.paper,
        "lines.markeredgewidth": 0.8,
        "svg.hashsalt": "vision_transformers",
    }


def on_one_line(text: str, longest: int) -> str:
    """A name as a drawing can have it: printable, no longer than that many letters; `$` is no formula."""
    plain = text.encode(errors="backslashreplace").decode()
    line = "".join(letter if letter.isprintable() else "·" for letter in plain)
    return (line if len(line) <= longest else line[: longest - 1] + "…").replace("$", r"\$")
