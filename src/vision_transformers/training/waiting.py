"""How long a run waits for its data, and what to change where that is long."""

import time
from collections.abc import Iterator

from vision_transformers.data.batches import Batch
from vision_transformers.data.images import ImageFiles, Images
from vision_transformers.runtime.device import usable_processors
from vision_transformers.training.observer import WAITING_WORTH_SAYING
from vision_transformers.training.recipe import Recipe


class Waiting:
    """Counts the seconds until batches are there."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.began: float | None = None

    def for_each(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Passes batches on; the first, which starts loader workers, does not count.

        Whoever stops asking lets go of the batches too, and of the workers that make them.
        """
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            now = time.monotonic()
            if self.began is None:
                self.began = now
            else:
                self.waited += now - asked
            yield batch

    @property
    def share(self) -> float:
        """Part of the time since the first batch, 0 to 1."""
        if self.began is None:
            return 0.0
        return self.waited / max(time.monotonic() - self.began, 1e-9)


def waiting_warning(recipe: Recipe, images: Images, share: float, cores: int | None = None) -> str | None:
    """A sentence for a run that waits: how much, for what, and what to change; None where it is little.

    Args:
        recipe: the run's.
        images: its training images.
        share: part of the time that it waited.
        cores: that this process may use; counted if not given.
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
        what, changes = "images in memory to be varied", ["weaker --augmentation"]
    else:
        varied = "pictures to be read and varied" if reads else "pictures to be varied one at a time"
        what = f"{varied}, by {workers} workers on {cores} cores"
        changes = [f"--data.workers {cores}"] * (workers < cores) + single
        if reads:
            changes.append(
                f"files that are no larger than they need be ({recipe.preprocessing.size[0]} pixels)"
            )
    return f"{share:.0%} of the time the run waited for {what}; what could help: {', or '.join(changes)}"
