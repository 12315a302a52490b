"""The pictures that `vit evaluate` shows, chosen by the model's own judgement of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from vision_transformers.cli.baseline import JudgedBaseline
from vision_transformers.data.decoding import decode
from vision_transformers.data.images import Images, ImagesInMemory
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.evaluation.judgement import Judgement
from vision_transformers.evaluation.label_errors import LabelErrors
from vision_transformers.evaluation.selection import least_certain, won_from, worst_mistakes
from vision_transformers.report.specimens import Galleries, Specimen, thumbnail_size

MISTAKES, UNCERTAIN, LABEL_ERRORS, CHANGED = 24, 12, 24, 12
"""How many pictures a gallery has at most."""


def galleries(
    images: Images,
    judgement: Judgement,
    label_errors: LabelErrors,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    baseline: JudgedBaseline | None = None,
) -> Galleries:
    """The pictures that a person should look at, as people see them."""
    shown = _Shown(images, judgement, classes, preprocessing)
    errors = zip(
        label_errors.places[:LABEL_ERRORS].tolist(), label_errors.likely[:LABEL_ERRORS].tolist(), strict=True
    )
    found = Galleries(
        shown.specimens(worst_mistakes(judgement.probabilities, judgement.labels, MISTAKES)),
        shown.specimens(least_certain(judgement.probabilities, UNCERTAIN)),
        tuple(replace(shown.specimen(place), likely=classes[likely]) for place, likely in errors),
    )
    if baseline is None:
        return found
    gained = won_from(judgement, baseline.judgement, CHANGED)
    lost = won_from(baseline.judgement, judgement, CHANGED)
    return replace(found, gained=shown.beside(baseline, gained), lost=shown.beside(baseline, lost))


@dataclass(frozen=True)
class _Shown:
    """Judged images, to be shown one by one."""

    images: Images
    judgement: Judgement
    classes: Sequence[str]
    preprocessing: Preprocessing

    def specimens(self, places: Int[Tensor, " found"]) -> tuple[Specimen, ...]:
        return tuple(self.specimen(place) for place in places.tolist())

    def beside(self, baseline: JudgedBaseline, places: Int[Tensor, " found"]) -> tuple[Specimen, ...]:
        """With what the baseline guesses."""
        return tuple(
            replace(self.specimen(place), baseline=baseline.guess(place).label) for place in places.tolist()
        )

    def specimen(self, place: int) -> Specimen:
        guess = self.judgement.guess(place, self.classes)
        return Specimen(
            _thumbnail(self.images, place, self.preprocessing),
            self.images.name(place),
            self.classes[int(self.judgement.labels[place])],
            guess.label,
            guess.probability,
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
