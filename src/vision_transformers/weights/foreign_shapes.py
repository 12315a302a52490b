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
    shape = tensors[name].shape
    if len(shape) != dimensions or 0 in shape:
        raise Failure(f"{name} is {list(shape)}: expected {dimensions} dimensions, none of them 0")
    return shape


def length_of(tensors: Mapping[str, Tensor], name: str, dimensions: int, dimension: int) -> int:
    """One dimension of a tensor that the format may have; 0 where it has none.

    Raises:
        Failure: it has another number of dimensions, or is empty.
    """
    return shape_of(tensors, name, dimensions)[dimension] if name in tensors else 0
