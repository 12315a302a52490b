"""How near numbers are to the truth, and on how many threads they are computed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def relative_error(found: Tensor, truth: Tensor) -> float:
    """The length of the difference over that of the truth, in float64."""
    return float((found.detach().double() - truth.detach()).norm() / truth.detach().norm())


@contextmanager
def threads(number: int) -> Iterator[None]:
    """As many, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
