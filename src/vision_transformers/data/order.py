"""Which images make up which batch: a pure function of the seed and the batch's number in the run."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from vision_transformers.randomness import generator


@dataclass(frozen=True)
class Order:
    """The order of a run's training images, shuffled anew in each epoch.

    Every batch has the same size: the images left over at the end of an epoch are dropped, others in
    each epoch.

    Raises:
        ValueError: a batch would need more images than there are.
    """

    seed: int
    number_of_images: int
    batch_size: int
    share: int = 0
    """Which part of each batch is this process's."""
    shares: int = 1
    """Equal parts of a batch, one for each process that trains."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.number_of_images:
            raise ValueError(
                f"the batch size is {self.batch_size} and there are {self.number_of_images} training images: "
                "expected a batch size of at least 1 and at most the number of images"
            )
        if self.batch_size % self.shares:
            raise ValueError(f"a batch of {self.batch_size} images has no {self.shares} equal parts")

    @property
    def batches_per_epoch(self) -> int:
        """How many full batches an epoch has."""
        return self.number_of_images // self.batch_size

    def epoch(self, batch_number: int) -> int:
        """The epoch, from 0, of the batch with this number, counted from 0 over the whole run."""
        return batch_number // self.batches_per_epoch

    def indices(self, batch_number: int) -> Int[Tensor, " batch"]:
        """The places in the data set of one batch's images."""
        permutation = _permutation(self.seed, self.epoch(batch_number), self.number_of_images)
        start = batch_number % self.batches_per_epoch * self.batch_size
        return permutation[start : start + self.batch_size].clone()

    def own_indices(self, batch_number: int) -> Int[Tensor, " share"]:
        """Those of this process's part of the batch."""
        return self.indices(batch_number).chunk(self.shares)[self.share]


@lru_cache(maxsize=1)
def _permutation(seed: int, epoch: int, number_of_images: int) -> Int[Tensor, " images"]:
    return torch.randperm(number_of_images, generator=generator(seed, "order", epoch))
