"""What `recipe.json` holds: everything that was asked for, and what it came to on the machine."""

from dataclasses import dataclass, replace
from typing import Literal

from vision_transformers.training.recipe import Recipe

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Environment:
    """What must be the same for a resumed run to end with the same bytes."""

    torch: str
    torchvision: str
    pillow: str
    device: str
    """Where PyTorch computes, such as `cuda:0`."""
    processor: str
    threads: int
    precision: Literal["float32", "bfloat16"]
    compile: bool
    data: str
    """The fingerprint of the images: what is in them, or for files their names and sizes."""
    attention: Literal["pytorch", "native", "triton"] = "pytorch"
    """Who computes what it can of it: PyTorch, `model/kernels/short_attention.h` or
    `model/kernels/packed_attention_kernels.py`."""
    feed_forward: Literal["pytorch", "native", "triton"] = "pytorch"
    """Who computes what it can of it: PyTorch, for narrow ones `model/kernels/narrow_feed_forward.h`, or, of
    its activation, `model/kernels/biased_gelu_kernels.py`."""
    numpy: str | None = None
    vision_transformers: str | None = None
    """These two are those of `Versions` where they are not given: earlier runs have them there alone."""
    simplejpeg: str | None = None
    """It decodes ordinary JPEG files. Where this or the next is None it is not compared: earlier runs did not
    record them."""
    processes: int = 1
    """That train together, each a part of every batch."""
    compiler: str | None = None
    """Of the C files that compute, where one does: another may round their sums otherwise."""
    programs: str | None = None
    """The C files that compute, where one does: of two that compute the same, each rounds in its own way."""
    teacher: str | None = None
    """The fingerprint of the model that is learned from, where there is one."""


@dataclass(frozen=True)
class Versions:
    """What else was there, for the record."""

    vision_transformers: str
    python: str
    numpy: str
    platform: str


@dataclass(frozen=True)
class Record:
    """The recipe of a run, and where it runs."""

    format_version: int
    recipe: Recipe
    images: str
    """The hash of which images there are, with labels: another one is another run."""
    environments: tuple[Environment, ...]
    """Where it began, and every other place where it went on."""
    versions: Versions
    command: tuple[str, ...]
    found: str | None = None
    """Where the images lay and how many there were, for a person; earlier runs did not record it."""

    def __post_init__(self) -> None:
        versions = self.versions
        completed = tuple(
            replace(
                each,
                numpy=each.numpy or versions.numpy,
                vision_transformers=each.vision_transformers or versions.vision_transformers,
            )
            for each in self.environments
        )
        object.__setattr__(self, "environments", completed)
