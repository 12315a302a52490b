"""The pictures that `vit evaluate` shows, chosen by the model's own judgement of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from vision_transformers.data.decoding import decode
from vision_transformers.data.images import Images, ImagesInMemory
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.evaluation.judgement import Judgement
from vision_transformers.evaluation.label_errors import LabelErrors
from vision_transformers.evaluation.selection import least_certain, worst_mistakes
from vision_transformers.report.specimens import Galleries, Specimen, thumbnail_size

MISTAKES, UNCERTAIN, LABEL_ERRORS = 24, 12, 24
"""How many pictures a gallery has at most."""


def galleries(
    images: Images,
    judgement: Judgement,
    label_errors: LabelErrors,
    classes: Sequence[str],
    preprocessing: Preprocessing,
) -> Galleries:
    """The worst mistakes, the least certain, and the likeliest label errors, as people see the pictures."""
    probabilities, labels = judgement.probabilities, judgement.labels

    def specimens(places: Int[Tensor, " found"]) -> tuple[Specimen, ...]:
        return tuple(specimen(place) for place in places.tolist())

    def specimen(place: int) -> Specimen:
        probability, guess = probabilities[place].max(dim=0)
        return Specimen(
            _thumbnail(images, place, preprocessing),
            images.name(place),
            classes[int(labels[place])],
            classes[int(guess)],
            float(probability),
        )

    return Galleries(
        specimens(worst_mistakes(probabilities, labels, MISTAKES)),
        specimens(least_certain(probabilities, UNCERTAIN)),
        tuple(
            replace(specimen(place), likely=classes[likely])
            for place, likely in zip(
                label_errors.places[:LABEL_ERRORS].tolist(),
                label_errors.likely[:LABEL_ERRORS].tolist(),
                strict=True,
            )
        ),
    )


def _thumbnail(
    images: Images, place: int, preprocessing: Preprocessing
) -> UInt8[np.ndarray, "height width channels"]:
    """The picture in its own aspect; what is held in memory is at the model's size already."""
    if isinstance(images, ImagesInMemory):
        return images.pixels[place].permute(1, 2, 0).cpu().numpy()
    picture = decode(images.paths[place], preprocessing.channels, preprocessing.background)
    height, width = thumbnail_size(picture.height, picture.width)
    pixels = np.asarray(picture.resize((width, height)))
    return pixels if pixels.ndim == 3 else pixels[..., None]
