"""What the shapes of somebody's tensors tell: every one is checked as it is read."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vision_transformers.errors import Failure


def shape_of(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> torch.Size:
    """The shape of a tensor that the format always has.

    Raises:
        Failure: it is missing, has another number of dimensions, or is empty.
    """
    if name not in tensors:
        raise Failure(f"there is no tensor {name}, which this format has: check --from")
    return _checked(name, tensors[name].shape, dimensions, tensors[name].shape)


def length_of(tensors: Mapping[str, Tensor], name: str, dimensions: int, dimension: int) -> int:
    """One dimension of a tensor that the format may have; 0 where it has none, or an empty one.

    Raises:
        Failure: it has another number of dimensions, or another one of them is 0.
    """
    if name not in tensors:
        return 0
    shape = tensors[name].shape
    return _checked(name, shape, dimensions, (*shape[:dimension], *shape[dimension + 1 :]))[dimension]


def _checked(name: str, shape: torch.Size, dimensions: int, not_empty: tuple[int, ...]) -> torch.Size:
    if len(shape) != dimensions or 0 in not_empty:
        raise Failure(f"{name} is {list(shape)}: expected {dimensions} dimensions, none of them 0")
    return shape
