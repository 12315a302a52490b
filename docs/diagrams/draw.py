"""Draws the two diagrams of the guide: python docs/diagrams/draw.py

model.svg     from an image to class probabilities, with the shapes of the guide's example
encoder.svg   one encoder: two residual lines

Plain text in, plain text out: the same files each time. They follow the reader's light or dark setting.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).parent
STYLE = """
  text { font: 20px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328; }
  .small { font-size: 17px; fill: #59636e; }
  .strong { font-weight: 650; }
  .middle { text-anchor: middle; }
  .line { stroke: #59636e; stroke-width: 2; fill: none; }
  .trunk { stroke: #0072b2; stroke-width: 5; fill: none; }
  .tip { fill: #59636e; }
  .trunk-tip { fill: #0072b2; }
  .box { fill: #eef3f8; stroke: #9fb3c6; stroke-width: 1.5; }
  .paper { fill: #ffffff; stroke: #9fb3c6; stroke-width: 1.5; }
  .pixel { fill: #1f2328; shape-rendering: crispEdges; }
  .frame { fill: #f4f6f8; stroke: #9fb3c6; stroke-width: 1; }
  .token { fill: #0072b2; }
  .class { fill: #d55e00; }
  .class-text { fill: #b3470b; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b1; }
    .line { stroke: #9da7b1; }
    .tip { fill: #9da7b1; }
    .trunk { stroke: #56b4e9; }
    .trunk-tip { fill: #56b4e9; }
    .box { fill: #1b2430; stroke: #46566a; }
    .paper { fill: #0d1117; stroke: #46566a; }
    .pixel { fill: #e6edf3; }
    .frame { fill: #161b22; stroke: #46566a; }
    .token { fill: #56b4e9; }
    .class { fill: #f0965c; }
    .class-text { fill: #f0965c; }
  }
"""

PIXELS, PATCH = 28, 7
GRID = PIXELS // PATCH
SEVEN = ((7.0, 7.5), (20.5, 7.5), (17.0, 14.0), (12.5, 22.5))


def main() -> None:
    """Writes both files."""
    (FOLDER / "model.svg").write_text(model(), encoding="utf-8")
    (FOLDER / "encoder.svg").write_text(encoder(), encoding="utf-8")


def model() -> str:
    """The whole model, in two rows: the second is read from right to left."""
    parts = [
        *image(16, 60),
        *text(100, 264, "image", "28 × 28 × 1"),
        *arrow(196, 144, 234, 144),
        *patches(246, 46),
        *text(344, 264, "16 patches", "7 × 7 × 1 each"),
        *arrow(452, 144, 490, 144),
        *flat_patches(502, 46),
        *text(552, 264, "flattened", "16 × 49"),
        *arrow(616, 144, 690, 144, "linear"),
        *tokens(702, 34),
        *text(758, 264, "17 tokens", "17 × 128"),
        '<text class="class-text" x="828" y="45">class</text>',
        *arrow(758, 296, 758, 346, "", "+ positions"),
        *box(640, 358, 240, 150),
        *text(760, 400, "transformer", ""),
        '<text class="small middle" x="760" y="432">4 encoders, one after</text>',
        '<text class="small middle" x="760" y="454">another, and a LayerNorm</text>',
        '<text class="small middle" x="760" y="490">17 × 128</text>',
        *arrow(640, 433, 578, 433),
        *token(452, 425, 3, "class"),
        *text(508, 472, "first token", "1 × 128"),
        *arrow(440, 433, 372, 433, "linear"),
        *probabilities(150, 352),
        *text(254, 548, "10 logits, softmax", "probability of each digit"),
    ]
    return svg(896, 590, "A Vision Transformer, from image to class", parts)


def encoder() -> str:
    """One encoder: the residual line runs down the left, and each branch adds to it."""
    parts = [
        *text(120, 36, "tokens in", "17 × 128"),
        '<path class="trunk" d="M120 74 V740"/>',
        *tip(120, 750, 0, 1, "trunk-tip"),
        *text(120, 780, "tokens out", "17 × 128"),
        *branch(110, "LayerNorm", "multi-head attention", "Equation 2"),
        *heads(330, 194),
        *branch(440, "LayerNorm", "feed-forward network", "Equation 3"),
        *network(330, 532),
    ]
    return svg(896, 816, "One encoder: two residual lines", parts)


def branch(top: int, first: str, second: str, equation: str) -> list[str]:
    """Leaves the residual line, goes through two boxes, and is added to it below."""
    bottom, sum_at = top + 250, top + 278
    return [
        f'<path class="line" d="M120 {top} H200"/>',
        *tip(208, top, 1, 0),
        *box(210, top - 24, 130, 48),
        f'<text class="middle" x="275" y="{top + 7}">{first}</text>',
        f'<path class="line" d="M340 {top} H365 V{top + 40}"/>',
        *tip(365, top + 50, 0, 1),
        *box(300, top + 50, 570, bottom - top - 50),
        f'<text class="strong" x="388" y="{top + 34}">{second}</text>',
        f'<path class="line" d="M796 {bottom} V{sum_at} H142"/>',
        *tip(134, sum_at, -1, 0),
        f'<circle class="paper" cx="120" cy="{sum_at}" r="14"/>',
        f'<text class="middle strong" x="120" y="{sum_at + 7}">+</text>',
        f'<text class="small" x="18" y="{top + 140}">{equation}</text>',
    ]


def heads(left: int, top: int) -> list[str]:
    """Queries, keys and values; four heads; their outputs joined."""
    parts: list[str] = []
    for place, name in enumerate(("queries", "keys", "values")):
        y = top - 12 + 48 * place
        parts += [
            *box(left - 14, y, 98, 36, "paper"),
            f'<text class="middle" x="{left + 35}" y="{y + 25}">{name}</text>',
        ]
        parts += [*arrow(left + 84, y + 18, left + 122, y + 18)]
    for head in range(4):
        y = top - 12 + 34 * head
        parts += [*box(left + 124, y, 250, 28, "paper")]
        words = "softmax(q kᵀ / √32) v" if head == 0 else f"head {head + 1}"
        parts.append(f'<text class="middle small" x="{left + 249}" y="{y + 20}">{words}</text>')
    y = top + 54
    parts += [*arrow(left + 374, y, left + 412, y), *box(left + 414, y - 32, 112, 64, "paper")]
    parts.append(f'<text class="middle" x="{left + 470}" y="{y - 4}">joined,</text>')
    parts.append(f'<text class="middle" x="{left + 470}" y="{y + 20}">linear</text>')
    parts.append(
        f'<text class="small" x="{left - 14}" y="{top + 150}">each head: 17 × 32, with 17 × 17 weights</text>'
    )
    return parts


def network(left: int, top: int) -> list[str]:
    """Two linear layers with GELU between them."""
    parts: list[str] = []
    steps = (("linear", "128 to 256"), ("GELU", "each number"), ("linear", "256 to 128"))
    for place, (name, size) in enumerate(steps):
        x = left - 14 + 190 * place
        parts += box(x, top + 2, 150, 74, "paper")
        parts += text(x + 75, top + 34, name, size)
        if place < 2:
            parts += arrow(x + 150, top + 39, x + 188, top + 39)
    parts.append(f'<text class="small" x="{left - 14}" y="{top + 122}">each token by itself</text>')
    return parts


def digit() -> list[list[float]]:
    """A seven, drawn with a round pen: ink of 0 to 1 in 28 rows of 28."""

    def ink(row: int, column: int) -> float:
        distances = (distance(column + 0.5, row + 0.5, *start, *end) for start, end in pairwise(SEVEN))
        return max(0.0, min(1.0, 2.2 - min(distances)))

    return [[ink(row, column) for column in range(PIXELS)] for row in range(PIXELS)]


def distance(x: float, y: float, x1: float, y1: float, x2: float, y2: float) -> float:
    """From a point to a line from one point to another."""
    dx, dy = x2 - x1, y2 - y1
    along = max(0.0, min(1.0, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)))
    return math.hypot(x - x1 - along * dx, y - y1 - along * dy)


def image(left: int, top: int) -> list[str]:
    """The picture as one."""
    return [rectangle("frame", left, top, 168, 168), *pixels(left, top, 6, range(PIXELS), range(PIXELS))]


def patches(left: int, top: int) -> list[str]:
    """The picture cut into 4 x 4."""
    parts = []
    for row in range(GRID):
        for column in range(GRID):
            x, y = left + 51 * column, top + 51 * row
            parts.append(rectangle("frame", x, y, 42, 42))
            rows, columns = (range(PATCH * at, PATCH * at + PATCH) for at in (row, column))
            parts += pixels(x, y, 6, rows, columns)
    return parts


def pixels(left: float, top: float, side: float, rows: range, columns: range) -> Iterable[str]:
    """The inked pixels of a part of the picture."""
    ink = digit()
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if ink[row][column] > 0.02:
                yield rectangle("pixel", left + side * x, top + side * y, side, side, ink[row][column])


def flat_patches(left: int, top: int) -> list[str]:
    """Sixteen rows of 49 pixels."""
    ink, parts = digit(), []
    for number in range(GRID * GRID):
        row, column = divmod(number, GRID)
        y = top + 12.4 * number
        parts.append(rectangle("frame", left, y, 98, 9))
        for place in range(PATCH * PATCH):
            value = ink[PATCH * row + place // PATCH][PATCH * column + place % PATCH]
            if value > 0.02:
                parts.append(rectangle("pixel", left + 2 * place, y, 2, 9, value))
    return parts


def tokens(left: int, top: int) -> list[str]:
    """The class token, then sixteen tokens of patches."""
    parts = token(left, top, 0, "class")
    for number in range(GRID * GRID):
        parts += token(left, top + 12.4 * (number + 1), number + 1, "token")
    return parts


def token(left: float, top: float, seed: int, kind: str) -> list[str]:
    """One vector: cells whose depth stands for values."""
    values = [0.5 + 0.5 * math.sin(12.9898 * (seed + 1) * (place + 1.7)) for place in range(16)]
    cells = [
        rectangle(kind, left + 7 * place, top, 7, 9, 0.15 + 0.85 * value)
        for place, value in enumerate(values)
    ]
    return [rectangle("frame", left, top, 112, 9), *cells]


def probabilities(left: int, top: int) -> list[str]:
    """A bar for each digit; the seven wins."""
    parts = []
    for number in range(10):
        share = {7: 0.93, 9: 0.04, 1: 0.02}.get(number, 0.01 / 7)
        x, height = left + 21 * number, max(2.0, 130 * share)
        parts.append(rectangle("class" if number == 7 else "token", x, top + 140 - height, 15, height))
        parts.append(f'<text class="small middle" x="{x + 7.5:g}" y="{top + 162}">{number}</text>')
    return parts


def arrow(x1: int, y1: int, x2: int, y2: int, above: str = "", beside: str = "") -> list[str]:
    """A line with a tip, and a word at its middle."""
    length = math.hypot(x2 - x1, y2 - y1)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    parts = [f'<path class="line" d="M{x1} {y1} L{x2 - 9 * dx:g} {y2 - 9 * dy:g}"/>', *tip(x2, y2, dx, dy)]
    if above:
        parts.append(f'<text class="small middle" x="{(x1 + x2) / 2:g}" y="{y1 - 12}">{above}</text>')
    if beside:
        parts.append(f'<text class="small" x="{x1 + 14}" y="{(y1 + y2) / 2 + 5:g}">{beside}</text>')
    return parts


def tip(x: float, y: float, dx: float, dy: float, kind: str = "tip") -> list[str]:
    """The head of an arrow that ends here."""
    size = 16 if kind == "trunk-tip" else 11
    left = f"{x - size * dx - size / 2 * dy:g},{y - size * dy + size / 2 * dx:g}"
    right = f"{x - size * dx + size / 2 * dy:g},{y - size * dy - size / 2 * dx:g}"
    return [f'<polygon class="{kind}" points="{x:g},{y:g} {left} {right}"/>']


def text(x: int, y: int, name: str, shape: str) -> list[str]:
    """A name, and a shape below it."""
    second = f'<text class="small middle" x="{x}" y="{y + 24}">{shape}</text>'
    return [f'<text class="strong middle" x="{x}" y="{y}">{name}</text>', *([second] if shape else [])]


def box(x: float, y: float, width: float, height: float, kind: str = "box") -> list[str]:
    """A rounded box."""
    return [f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>']


def rectangle(kind: str, x: float, y: float, width: float, height: float, opacity: float = 1.0) -> str:
    """A rectangle, more or less opaque."""
    depth = "" if opacity >= 1 else f' opacity="{opacity:.2f}"'
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{depth}/>'


def svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole file."""
    body = "\n".join(parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return f"{head}\n<title>{title}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"


if __name__ == "__main__":
    main()
