"""Which images a run trains on: a part of every recipe."""

from dataclasses import dataclass
from typing import Literal

DataName = Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder"]


@dataclass(frozen=True)
class DataSource:
    """Where the images come from, and which of them only judge."""

    name: DataName = "digits"
    """Data set; `digits` lies inside scikit-learn, `folder` is your own."""
    root: str | None = None
    """Folder with the files of a known data set; else $VISION_TRANSFORMERS_DATA, else a cache folder."""
    path: str | None = None
    """The folder of `folder`: PATH/train/<class>/* with val or test beside it, or PATH/<class>/*."""
    validation_fraction: float = 0.1
    """Part of the training images held out to validate; 0 for none. A folder's own `val` goes before it."""
    test_fraction: float = 0.2
    """Part of the images held out to test, for a folder with neither `val` nor `test`; 0 for none."""
    split_seed: int = 0
    """Chooses which images are held out; apart from the run's seed, so that runs are judged alike."""
    workers: int = 2
    """Processes that decode images; 0 decodes between the steps. Changes no result."""

    @property
    def has_test_of_its_own(self) -> bool:
        """Whether it comes with test images, so that neither fractions nor seed decide which they are."""
        return self.name not in ("digits", "folder")

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: expected at least 0 and less than 1")
        if self.workers < 0:
            raise ValueError(f"data.workers is {self.workers}: expected 0 or more")
        if self.name != "folder" and self.path is not None:
            raise ValueError(
                f"data.path is for your own pictures, which `vit train folder --data.path {self.path}` "
                f"learns from; the data set {self.name} takes none"
            )
