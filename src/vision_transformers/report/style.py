"""How drawings look: one style, on light and on dark paper, with equal bytes for equal drawings."""

import functools
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.style
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
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

_FAMILY = "DejaVu Sans"
"""It comes with matplotlib, so that drawings are the same everywhere."""
_FURTHER_FAMILIES = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP"),
    *("Noto Sans KR", "Source Han Sans SC", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "IPAexGothic", "IPAGothic", "NanumGothic", "PingFang SC", "Hiragino Sans"),
    *("Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "SimHei"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Arial Unicode MS", "FreeSans", "Unifont"),
)
"""For the letters that it lacks, where they are installed."""


Draw = Callable[[Palette], Figure]
"""Makes a figure; called with the style in force."""


@dataclass(frozen=True)
class Drawing:
    """A figure for a page: as the bytes of files, equal whatever the person's own matplotlib settings are."""

    png: bytes
    """On light paper."""
    light: bytes
    """SVG."""
    dark: bytes
    """SVG."""


def render_png(draw: Draw) -> bytes:
    """A figure on light paper as PNG: equal bytes whatever the person's own matplotlib settings are."""
    with _style(LIGHT):
        return _png(draw(LIGHT))


def render_for_a_page(draw: Draw) -> Drawing:
    """A figure as PNG, and as SVG for pages on light and on dark screens."""
    with _style(LIGHT):
        figure = draw(LIGHT)
        png = _png(figure)
        figure.set_layout_engine("none")  # what the PNG was laid out as holds, and takes as long as drawing
        light = _svg(figure)
    with _style(DARK):
        return Drawing(png, light, _svg(draw(DARK)))


def _png(figure: Figure) -> bytes:
    """Without `savefig`, which draws everything twice."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def _svg(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _style(palette: Palette) -> AbstractContextManager[None]:
    return matplotlib.style.context(["default", _settings(palette)])


def _settings(palette: Palette) -> dict[str, Any]:
    return {
        "font.family": _families(),
        "font.size": 10,
        "figure.facecolor": palette.paper,
        "axes.facecolor": palette.paper,
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


@functools.cache
def _families() -> list[str]:
    """The fonts that are asked for a letter, in this order."""
    installed = font_manager.get_font_names()
    return [_FAMILY, *(name for name in _FURTHER_FAMILIES if name in installed)]


@functools.cache
def _letters_by_font(weight: Literal["normal", "bold"]) -> dict[str, frozenset[int]]:
    """What each font can draw, by its file."""
    asked = [font_manager.FontProperties(family=family, weight=weight) for family in _families()]
    files = [font_manager.findfont(properties) for properties in asked]
    return {str(file): frozenset(font_manager.get_font(file).get_charmap()) for file in files}


@functools.cache
def _letters() -> frozenset[int]:
    """What can be drawn in both weights; of all else, matplotlib would draw boxes, and warn."""
    regular, bold = _letters_by_font("normal"), _letters_by_font("bold")
    return frozenset().union(*regular.values()) & frozenset().union(*bold.values())


def is_drawable(text: str) -> bool:
    """Whether the fonts here have all letters of a name."""
    return text.isascii() or all(ord(letter) in _letters() for letter in text)


def drawable(text: str) -> str:
    """Text on one line, in which letters that no font has are their numbers, such as `\\u732b`."""
    return "".join(_drawn(letter) for letter in text)


def font_file(text: str) -> str:
    """The first font that has all letters of a text; that of all drawings, if there is none."""
    fonts = _letters_by_font("normal")
    return next(
        (file for file, letters in fonts.items() if letters.issuperset(map(ord, text))), next(iter(fonts))
    )


def on_one_line(text: str, longest: int) -> str:
    """A name as a drawing can have it: printable, no longer than that many letters; `$` is no formula."""
    line = drawable(text)
    return (line if len(line) <= longest else line[: longest - 1] + "…").replace("$", r"\$")


def _drawn(letter: str) -> str:
    is_surrogate = "\ud800" <= letter <= "\udfff"  # a byte of a name that is no text
    if not letter.isprintable() and not is_surrogate:
        return "·"
    return letter if is_drawable(letter) else letter.encode("ascii", "backslashreplace").decode()
