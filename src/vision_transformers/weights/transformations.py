"""How tensors of one layout become those of another, and back: pure functions in pairs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Transformation:
    """A pair of functions, each the inverse of the other unless `loses` says what cannot come back."""

    description: str
    """What reading does, for the report; empty where nothing is done."""
    read: Callable[[Tensors], Tensors]
    """From the foreign tensors to ours."""
    write: Callable[[Tensors], Tensors]
    """From our tensors to the foreign ones."""
    loses: str = ""
    """What writing and reading again does not give back; empty where nothing is lost."""


SAME = Transformation("", lambda tensors: tensors, lambda tensors: tensors)

TRANSPOSED = Transformation(
    "transposed",
    lambda tensors: tuple(tensor.T for tensor in tensors),
    lambda tensors: tuple(tensor.T for tensor in tensors),
)


def joined(parts: int) -> Transformation:
    """Several tensors of equal shape, one below the other in one: queries, keys, values; or gate and up."""
    return Transformation(
        f"{parts} tensors joined",
        lambda tensors: (torch.cat(tensors),),
        lambda tensors: tensors[0].chunk(parts),
    )


def reshaped(theirs: tuple[int, ...], ours: tuple[int, ...]) -> Transformation:
    """The same values in the same order under another shape."""
    return Transformation(
        "reshaped",
        lambda tensors: tuple(tensor.reshape(ours) for tensor in tensors),
        lambda tensors: tuple(tensor.reshape(theirs) for tensor in tensors),
    )


def convolution_as_linear(patch_shape: tuple[int, int], channels: int) -> Transformation:
    """A convolution's kernel (width, channels, rows, columns) as the rows of a linear layer.

    `LinearFeatureExtractor` flattens a patch in the order row, column, channel.
    """
    rows, columns = patch_shape

    def read(tensors: Tensors) -> Tensors:
        return tuple(kernel.permute(0, 2, 3, 1).flatten(1) for kernel in tensors)

    def write(tensors: Tensors) -> Tensors:
        return tuple(weight.unflatten(1, (rows, columns, channels)).permute(0, 3, 1, 2) for weight in tensors)

    return Transformation("convolution's kernel as linear layer", read, write)


def head_kernels(heads: int, parts: int) -> Transformation:
    """Flax's kernels of queries, keys or values, (width, heads, head width), as rows of one linear layer."""

    def write(tensors: Tensors) -> Tensors:
        return tuple(rows.T.unflatten(1, (heads, rows.shape[0] // heads)) for rows in tensors[0].chunk(parts))

    return Transformation(
        f"{parts} kernels by head joined" if parts > 1 else "kernel by head as linear layer",
        lambda tensors: (torch.cat([kernel.flatten(1).T for kernel in tensors]),),
        write,
    )


def head_biases(heads: int, parts: int) -> Transformation:
    """Flax's biases of queries, keys or values, (heads, head width), one after another."""
    return Transformation(
        f"{parts} biases by head joined" if parts > 1 else "bias by head as one",
        lambda tensors: (torch.cat([bias.flatten() for bias in tensors]),),
        lambda tensors: tuple(bias.unflatten(0, (heads, -1)) for bias in tensors[0].chunk(parts)),
    )


def output_kernel(heads: int) -> Transformation:
    """Flax's kernel after the joined heads, (heads, head width, width), as a linear layer."""
    return Transformation(
        "kernel by head as linear layer",
        lambda tensors: tuple(kernel.flatten(0, 1).T for kernel in tensors),
        lambda tensors: tuple(weight.T.unflatten(0, (heads, -1)) for weight in tensors),
    )


def patch_kernel_of_flax(patch_shape: tuple[int, int], channels: int, convolutional: bool) -> Transformation:
    """Flax's convolution kernel (rows, columns, channels, width) as a linear layer, or PyTorch's kernel."""
    shape = (*patch_shape, channels)
    if convolutional:
        return Transformation(
            "transposed",
            lambda tensors: tuple(kernel.permute(3, 2, 0, 1) for kernel in tensors),
            lambda tensors: tuple(kernel.permute(2, 3, 1, 0) for kernel in tensors),
        )
    return Transformation(
        "convolution's kernel as linear layer",
        lambda tensors: tuple(kernel.flatten(0, 2).T for kernel in tensors),
        lambda tensors: tuple(weight.T.unflatten(0, shape) for weight in tensors),
    )
