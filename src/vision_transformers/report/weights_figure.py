"""The three pictures of the paper's figure 7, for any trained model."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vision_transformers.report.style import Palette, render_png

_HEADROOM = 1.1
"""How far the axis goes, of the largest distance: no point lies on the border."""


def weights_png(
    filters: Float[np.ndarray, "count channels rows columns"],
    similarity: Float[np.ndarray, "rows columns rows columns"] | None,
    distances: Float[np.ndarray, "layers heads"],
    origin: str,
) -> bytes:
    """Filters of the patch embedding, similarity of positions, and how far each head attends.

    Args:
        filters: the first principal components of the filters.
        similarity: the cosine of every patch's position with every other's; None where there are none.
        distances: mean attention distance in pixels.
        origin: of which images the distances are.
    """
    return render_png(lambda palette: _figure(filters, similarity, distances, origin, palette))


def _figure(
    filters: Float[np.ndarray, "count channels rows columns"],
    similarity: Float[np.ndarray, "rows columns rows columns"] | None,
    distances: Float[np.ndarray, "layers heads"],
    origin: str,
    palette: Palette,
) -> Figure:
    figure = Figure(figsize=(15, 5), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3)
    left.imshow(_filter_sheet(filters), cmap="gray", vmin=0, vmax=1)
    left.set_title(f"the first {len(filters)} principal components of the filters")
    left.set_axis_off()
    left.set_anchor("N")
    if similarity is None:
        middle.text(0.5, 0.5, "the model adds no positions\nto its patches", ha="center", color=palette.muted)
        middle.set_axis_off()
    else:
        drawn = middle.imshow(_similarity_sheet(similarity), cmap="viridis", vmin=-1, vmax=1)
        figure.colorbar(drawn, ax=middle, shrink=0.8, label="cosine")
        rows, columns = similarity.shape[:2]
        middle.set_xticks([(columns + 1) * (place + 0.5) for place in range(columns)], range(1, columns + 1))
        middle.set_yticks([(rows + 1) * (place + 0.5) for place in range(rows)], range(1, rows + 1))
        middle.set(xlabel="column of the patch", ylabel="row of the patch")
        middle.grid(False)
    middle.set_title("similarity of positions")
    for layer, heads in enumerate(distances):
        right.scatter([layer] * len(heads), heads, color=palette.series[0], s=22)
    right.plot(distances.mean(axis=1), color=palette.series[1], label="mean of the heads")
    right.set(xlabel="layer", ylabel="pixels", title="mean attention distance of each head")
    right.set_ylim(0, _HEADROOM * max(float(distances.max()), 1.0))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    figure.supxlabel(f"Attention distance on {origin}", fontsize=9, color=palette.muted)
    return figure


def _filter_sheet(filters: Float[np.ndarray, "count channels rows columns"]) -> np.ndarray:
    """Each filter from its least to its largest value, seven in a row, with a gap between."""
    count, channels, rows, columns = filters.shape
    across = min(7, count)
    down = -(-count // across)
    sheet = np.ones((down * (rows + 1) - 1, across * (columns + 1) - 1, channels))
    for place, one in enumerate(filters):
        top, left = (
            number * (size + 1) for number, size in zip(divmod(place, across), (rows, columns), strict=True)
        )
        low, high = one.min(), one.max()
        tile = ((one - low) / max(high - low, 1e-12)).transpose(1, 2, 0)
        sheet[top : top + rows, left : left + columns] = tile
    return sheet if channels == 3 else sheet[..., 0]


def _similarity_sheet(similarity: Float[np.ndarray, "rows columns rows columns"]) -> np.ndarray:
    """For each patch, at its place, a small map of its similarity with all."""
    rows, columns = similarity.shape[:2]
    framed = np.full((rows, columns, rows + 1, columns + 1), np.nan)
    framed[:, :, :rows, :columns] = similarity
    return framed.transpose(0, 2, 1, 3).reshape(rows * (rows + 1), columns * (columns + 1))
