"""The images of a data set, in memory or as files, before they are varied and batched."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class ImagesInMemory:
    """Images of equal size, decoded and resized once."""

    pixels: UInt8[Tensor, "images channels height width"]
    labels: Int[Tensor, " images"]
    origin: str | tuple[str, ...]
    """What messages call them, such as `mnist train`; one for each image, where they come from several."""
    places: Int[Tensor, " images"] | None = None
    """Where each stands in its origin; in order, if not given."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Int[Tensor, " selected"]) -> "ImagesInMemory":
        """The images at these places, in this order."""
        places = indices if self.places is None else self.places[indices]
        origin = self.origin
        if not isinstance(origin, str):
            origin = tuple(origin[index] for index in indices.tolist())
        return ImagesInMemory(self.pixels[indices], self.labels[indices], origin, places)

    def name(self, index: int) -> str:
        """What a message calls one image."""
        origin = self.origin if isinstance(self.origin, str) else self.origin[index]
        return f"{origin}[{index if self.places is None else int(self.places[index])}]"


@dataclass(frozen=True)
class ImageFiles:
    """Images that are decoded each time they are needed."""

    paths: tuple[Path, ...]
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Int[Tensor, " selected"]) -> "ImageFiles":
        """The images at these places, in this order."""
        return ImageFiles(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])

    def name(self, index: int) -> str:
        """What a message calls one image."""
        return str(self.paths[index])


Images = ImagesInMemory | ImageFiles


def joined(parts: Sequence[ImagesInMemory]) -> ImagesInMemory:
    """One data set of several, in which every image keeps its name."""
    origins = [(part.origin,) * len(part) if isinstance(part.origin, str) else part.origin for part in parts]
    places = [torch.arange(len(part)) if part.places is None else part.places for part in parts]
    return ImagesInMemory(
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.labels for part in parts]),
        tuple(chain.from_iterable(origins)),
        torch.cat(places),
    )


@dataclass(frozen=True)
class DataSets:
    """What a run learns from, what chooses, and what judges."""

    train: Images
    validation: Images | None
    test: Images | None
    classes: tuple[str, ...]
    description: str
    """One line for the person: what was found, where, how many."""
    listing: str
    """A hash of which images there are, with labels: where it changed, the parts are others too."""
    fingerprint: str
    """A hash of the same and of what is in them, or of a folder's files their sizes; equal on another machine
    with the same data."""
