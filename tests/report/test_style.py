"""Drawings show names in every script that a font here has, and tell the others apart."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from vision_transformers.report import style
from vision_transformers.report.confusion import confusion_figure
from vision_transformers.report.style import LIGHT, font_file, on_one_line, render_for_a_page, render_png

NAMES = (
    "größe",
    "кошка",
    "\U00012001",
    "\U00012002",
    "\U00012003\U00012004\U00012005",
    "\U00012003\U00012004\U00012006",
)
"""The last are of cuneiform signs, which no font for today has."""


@pytest.mark.filterwarnings("error")
def test_names_that_no_font_has_are_told_apart_and_nothing_is_warned_of() -> None:
    confusion = np.eye(len(NAMES), dtype=np.int64)
    figure = confusion_figure(confusion, NAMES, False, LIGHT)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[:2] == ["größe", "кошка"]
    assert shown[2] == r"2 \U00012001"
    assert len(set(shown)) == len(NAMES)
    drawing = render_for_a_page(lambda palette: confusion_figure(confusion, NAMES, False, palette))
    assert drawing.png
    assert drawing.light != drawing.dark


def test_what_is_no_letter_is_shown_as_ever() -> None:
    assert on_one_line("two\nlines, 5 $, not\udcffutf8", 40) == r"two·lines, 5 \$, not\udcffutf8"
    assert on_one_line("a" * 50, 10) == "a" * 9 + "…"


@pytest.fixture
def further_font(tmp_path: Path) -> Iterator[str]:
    """A font of the name that a system may have, with one letter that no other has."""
    pen = TTGlyphPen(None)
    for place, point in enumerate(((0, 0), (0, 700), (700, 700))):
        (pen.lineTo if place else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({0x12001: "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "cat": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "font.ttf")
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "font.ttf")
    _forget()
    yield "\U00012001"
    font_manager.fontManager.ttflist[:] = known
    _forget()


def _forget() -> None:
    style._families.cache_clear()
    style._letters_by_font.cache_clear()
    style._letters.cache_clear()


@pytest.mark.filterwarnings("error")
def test_letters_of_an_installed_font_are_drawn(further_font: str) -> None:
    names = (further_font, "\U00012002")
    assert [on_one_line(name, 20) for name in names] == [further_font, r"\U00012002"]
    assert [Path(font_file(f"{name} → a")).name for name in ("größe", further_font)] == ["DejaVuSans.ttf"] * 2
    assert Path(font_file(further_font)).name == "font.ttf"
    assert render_png(lambda palette: confusion_figure(np.eye(2, dtype=np.int64), names, False, palette))
