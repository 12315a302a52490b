"""What a model answers about pictures: read in any thread, computed in batches by one."""

import io
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vision_transformers.classifier import Classifier
from vision_transformers.config import to_json
from vision_transformers.data.decoding import decode, opened
from vision_transformers.data.pictures import ReadPicture
from vision_transformers.data.resizing import resize, seen_part, to_pixels
from vision_transformers.errors import DataFailure
from vision_transformers.explain.methods import DEFAULT, METHODS
from vision_transformers.prediction import Prediction
from vision_transformers.report.overlay import Box, overlaid, shown
from vision_transformers.report.sheet import encode_png
from vision_transformers.serve.limits import MEGAPIXEL, Limits

Pixels = UInt8[Tensor, "channels rows columns"]


@dataclass(frozen=True)
class Seen:
    """A picture as a person sees it, small enough to be kept, and the part of it that the model sees."""

    picture: UInt8[np.ndarray, "height width 3"]
    box: Box


@dataclass(frozen=True)
class Explanation:
    """How much each patch speaks for a class."""

    label: str
    probability: float
    values: Float[np.ndarray, "rows columns"]


class Answers:
    """One model's answers.

    Args:
        classifier: with a head.
        name: what clients are told that it is called.
        megapixels: the most that a picture may have.
    """

    def __init__(self, classifier: Classifier, name: str, megapixels: int = Limits.megapixels) -> None:
        self.classifier = classifier
        self.name = name
        self.megapixels = megapixels

    def read(self, content: bytes) -> Pixels:
        """A file's bytes as the model's input, decoded as everywhere in this package.

        Raises:
            DataFailure: they are no picture that can be used.
        """
        return self._pixels(self._decoded(content))

    def read_and_see(self, content: bytes) -> tuple[Pixels, Seen]:
        """The same, and what a person sees of it."""
        picture = self._decoded(content)
        seen = Seen(shown(picture), seen_part(picture, self.classifier.preprocessing))
        return self._pixels(picture), seen

    def predict(self, asked: list[tuple[Pixels, int]]) -> list[Prediction]:
        """The likeliest classes of each picture, as many as asked for beside it."""
        pictures = [ReadPicture(pixels, pixels) for pixels, _ in asked]
        most = max(top for _, top in asked)
        outcomes = self.classifier.outcomes_of(pictures, most, batch_size=len(pictures), with_features=False)
        return [
            Prediction(outcome.prediction.top[:top])
            for outcome, (_, top) in zip(outcomes, asked, strict=True)
            if outcome.prediction is not None
        ]

    def explain(self, asked: list[tuple[Pixels, str | None]]) -> list[Explanation]:
        """The map of `vit explain` for the class beside each picture; for the likeliest if it is None.

        One by one: for each, gradients take several times the memory of a prediction.
        """
        return [self._explained(pixels, label) for pixels, label in asked]

    def warm_up(self, batch_size: int) -> None:
        """Computes what takes longer the first time, and as much at once as there can ever be."""
        how = self.classifier.preprocessing
        blank = torch.zeros(how.channels, *how.size, dtype=torch.uint8)
        for number in {1, batch_size}:
            self.predict([(blank, 1)] * number)
        self.explain([(blank, None)])

    def described(self) -> dict[str, Any]:
        """The model for clients: what it is called, takes and knows."""
        classifier = self.classifier
        return {
            "name": self.name,
            "classes": classifier.classes,
            "preprocessing": to_json(classifier.preprocessing),
            "temperature": classifier.description.temperature,
            "explanation": METHODS[DEFAULT].words,
            "device": classifier.device.type,
            "precision": classifier.precision,
            "versions": {name: version(name) for name in ("vision_transformers", "torch", "pillow")},
        }

    def _explained(self, pixels: Pixels, label: str | None) -> Explanation:
        classifier = self.classifier
        image = classifier.normalised(pixels[None])
        probabilities = classifier.probabilities(classifier.logits(image))[0]
        likeliest = int(probabilities.argsort(descending=True, stable=True)[0])
        place = likeliest if label is None else classifier.classes.index(label)
        chosen = torch.tensor([place], device=classifier.device)
        values = METHODS[DEFAULT].explain(classifier.model, image, chosen)[0].cpu().numpy()
        return Explanation(classifier.classes[place], float(probabilities[place]), values)

    def _decoded(self, content: bytes) -> Image.Image:
        how = self.classifier.preprocessing
        with opened(io.BytesIO(content)) as image:
            width, height = image.size
        if width * height > self.megapixels * MEGAPIXEL:
            raise DataFailure(
                f"the image has {width:,} x {height:,} pixels, more than {self.megapixels} megapixels, "
                "the limit here: make it smaller"
            )
        return decode(io.BytesIO(content), how.channels, how.background)

    def _pixels(self, picture: Image.Image) -> Pixels:
        return to_pixels(resize(picture, self.classifier.preprocessing))


def overlay_png(seen: Seen, explanation: Explanation) -> bytes:
    """A picture with its map over it."""
    return encode_png(overlaid(seen.picture, explanation.values, seen.box))
