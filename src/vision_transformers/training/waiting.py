"""How long a run waits for its data, and what to change where that is long."""

import logging
import time
from collections.abc import Iterator
from dataclasses import fields

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.batches import Batch
from vision_transformers.data.images import ImageFiles, Images
from vision_transformers.data.usual_size import usual_size
from vision_transformers.runtime.device import usable_processors
from vision_transformers.training.observer import WAITING_WORTH_SAYING
from vision_transformers.training.recipe import Recipe

STEPS_THAT_TELL, SECONDS_THAT_TELL = 100, 60.0
"""After so many, whichever comes first, the share of waiting will hardly change."""
SECONDS_WORTH_SAYING = 1.0
"""A run that has waited for less has nothing to gain."""
_STRENGTHS = ("rand_augment_magnitude", "erasing_area", "mix_probability")
"""Fields of `Augmentation` that turn nothing on."""

logger = logging.getLogger(__name__)


class Waiting:
    """Counts the seconds until batches are there, and those of the steps that they are for."""

    def __init__(self) -> None:
        self.waited = self.stepped = 0.0
        self.steps = 0
        self._came: float | None = None

    def for_each(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Passes batches on; the first, which starts loader workers, does not count.

        Whoever stops asking lets go of the batches too, and of the workers that make them.
        """
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            is_first, self._came = self._came is None, time.monotonic()
            if not is_first:
                self.waited += self._came - asked
            yield batch

    def step_done(self) -> None:
        """The step of the last batch is done; evaluations and checkpoints that follow do not count."""
        if self._came is not None:
            self.stepped += time.monotonic() - self._came
            self.steps += 1

    @property
    def share(self) -> float:
        """Part of the time of steps and of waiting for their batches, 0 to 1."""
        return self.waited / max(self.waited + self.stepped, 1e-9)

    @property
    def tells(self) -> bool:
        """Whether the share may be believed by now."""
        return self.steps >= STEPS_THAT_TELL or self.waited + self.stepped >= SECONDS_THAT_TELL


class WaitingAdvice:
    """Warns once of a run that waits.

    Args:
        recipe: the run's.
        images: its training images.
    """

    def __init__(self, recipe: Recipe, images: Images) -> None:
        self.recipe = recipe
        self.images = images
        # Looked at now, for a picture that is gone when the run ends must not spoil it.
        self.picture_size = usual_size(images) if isinstance(images, ImageFiles) else None
        self._is_given = False

    def give(self, share: float) -> None:
        """Says how much of the time the run waits, if that is much and was not said before."""
        if self._is_given:
            return
        if warning := waiting_warning(self.recipe, self.images, share, picture_size=self.picture_size):
            self._is_given = True
            logger.warning("%s", warning)


def waiting_warning(
    recipe: Recipe,
    images: Images,
    share: float,
    cores: int | None = None,
    picture_size: tuple[int, int] | None = None,
) -> str | None:
    """A sentence for a run that waits: how much, for what, and what to change; None where it is little.

    Args:
        recipe: the run's.
        images: its training images.
        share: part of the time that it waited.
        cores: that this process may use; counted if not given.
        picture_size: rows and columns of pixels that its files usually have, if it reads files.
    """
    if share < WAITING_WORTH_SAYING:
        return None
    cores = cores or usable_processors()
    augmentation, workers = recipe.augmentation, recipe.data.workers
    reads = isinstance(images, ImageFiles)
    by_workers = isinstance(images, ImageFiles) or not images.pixels.is_cuda
    single = [
        f"--augmentation.{name.replace('_', '-')} 0"
        for name in ("rand_augment", "color_jitter")
        if by_workers and getattr(augmentation, name) > 0
    ]
    if not (reads or single):
        what, changes = "images in memory to be varied", [f"less of {name}" for name in _turned_on(recipe)]
    else:
        varied = "pictures to be read and varied" if reads else "pictures to be varied one at a time"
        what = f"{varied}, by {workers} workers on {cores} cores"
        changes = [f"--data.workers {cores}"] * (workers < cores) + single
        rows, columns = recipe.preprocessing.size
        if picture_size is not None and picture_size[0] > rows and picture_size[1] > columns:
            have = f"most have {picture_size[0]} x {picture_size[1]} pixels"
            changes.append(f"files that are no larger than they need be ({rows} x {columns}; {have})")
    could_help = f"; what could help: {', or '.join(changes)}" if changes else ""
    return f"{share:.0%} of the time the run waited for {what}{could_help}"


def _turned_on(recipe: Recipe) -> list[str]:
    """The options of variations that are on."""
    off, augmentation = Augmentation(), recipe.augmentation
    names = [field.name for field in fields(Augmentation) if field.name not in _STRENGTHS]
    changed = [name for name in names if getattr(augmentation, name) != getattr(off, name)]
    return [f"--augmentation.{name.replace('_', '-')}" for name in changed]
