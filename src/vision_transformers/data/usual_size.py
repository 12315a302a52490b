"""How large the pictures of a folder usually are, by the headers of a few."""

from statistics import median_low

from vision_transformers.data.decoding import opened
from vision_transformers.data.images import ImageFiles

LOOKED_AT = 9


def usual_size(images: ImageFiles) -> tuple[int, int]:
    """Rows and columns of pixels as they are stored: the medians of some files, from the first to the last.

    Raises:
        DataFailure: one of them cannot be opened.
    """
    count = min(LOOKED_AT, len(images))
    columns, rows = [], []
    for number in range(count):
        with opened(images.paths[number * len(images) // count]) as picture:
            columns.append(picture.width)
            rows.append(picture.height)
    return median_low(rows), median_low(columns)
