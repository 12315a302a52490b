"""A model for other images or classes than it was made for: sizes, channels, patches, names."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vision_transformers.data.labelled import some_of
from vision_transformers.data.preprocessing import averaged_if_grey
from vision_transformers.errors import UsageFailure
from vision_transformers.model.building import classification_head
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.position_resize import resize_positions
from vision_transformers.model.positions import SineCosinePositionalEncoding
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report, Row

Kernel = Float[Tensor, "model_dimension channels rows columns"]
_POSITIONS, _PATCHES = "positions.position_embeddings", "patches.projector.weight"


def for_images(
    model: PortableModel,
    report: Report,
    image_shape: tuple[int, int] | None = None,
    patch_shape: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
) -> PortableModel:
    """The model for other images; what is None stays as it is.

    Pictures then come at the size that positions are made for, which DINOv2's, for one, do not of themselves.

    Raises:
        UsageFailure: patches do not divide the images, or their projection cannot be changed.
    """
    if image_shape is not None or patch_shape is not None:
        old = model.description.model
        model = _for_shapes(model, image_shape or old.max_image_shape, patch_shape or old.patch_shape, report)
    return model if channels is None else for_channels(model, channels, report)


def _for_shapes(
    model: PortableModel, image_shape: tuple[int, int], patch_shape: tuple[int, int], report: Report
) -> PortableModel:
    """Patches and positions for images and patches of these sizes; the preprocessing's size becomes theirs.

    Positions are resized by the model's own rule, patches by the pseudo-inverse resize of FlexiViT
    (arXiv 2212.08013, section 3.4): an enlarged patch then gives the token that the small one gave.

    Raises:
        UsageFailure: the patches do not divide the images, or their projection cannot be changed.
    """
    old, weights = model.description.model, model.weights
    kernel = _kernel(model, old) if patch_shape != old.patch_shape else None
    config = _with(old, max_image_shape=image_shape, patch_shape=patch_shape)
    if kernel is not None:
        resized = _pseudo_inverse_resize(kernel, patch_shape)
        weights = _with_kernel(weights, resized, config, f"{old.patch_shape} to {patch_shape}", report)
    weights = _with_positions(weights, old, config, report)
    preprocessing = replace(model.description.preprocessing, size=image_shape)
    description = replace(model.description, model=config, preprocessing=preprocessing)
    return PortableModel(weights, description, model.aside)


def for_channels(model: PortableModel, channels: Literal[1, 3], report: Report) -> PortableModel:
    """Pictures of other channels: to one, kernels are summed; to three, repeated and scaled, as timm does.

    Mean and std of the preprocessing become their averages, or one for all channels.

    Raises:
        UsageFailure: the projection of patches cannot be changed.
    """
    old, preprocessing = model.description.model, model.description.preprocessing
    if channels == old.number_of_channels:
        return model
    config = _with(old, number_of_channels=channels)
    kernel = _kernel(model, old)
    if channels == 1:
        kernel = kernel.sum(dim=1, keepdim=True)
    else:
        times = math.ceil(channels / old.number_of_channels)
        kernel = kernel.repeat(1, times, 1, 1)[:, :channels] * (old.number_of_channels / channels)
    how = f"{old.number_of_channels} channels to {channels}"
    weights = _with_kernel(model.weights, kernel, config, how, report)
    mean, std = (averaged_if_grey(values, channels) for values in (preprocessing.mean, preprocessing.std))
    changed = replace(preprocessing, channels=channels, mean=mean, std=std)
    return PortableModel(
        weights, replace(model.description, model=config, preprocessing=changed), model.aside
    )


def with_stored_positions(model: PortableModel, report: Report) -> PortableModel:
    """Sine-cosine positions as a table, as if they were learned; for other images it is then resized.

    The function stays the same at the image size that the model is made for.
    """
    config = model.description.model
    if not config.positions.startswith("sine-cosine"):
        return model
    stored = replace(config, positions="learnable", prefix_positions="all")
    encoding = SineCosinePositionalEncoding(
        config.model_dimension,
        config.number_of_prefix_tokens,
        include_last_frequency=config.positions == "sine-cosine",
    )
    table = encoding.positions(config.grid, torch.device("cpu"))
    report.add("newly_made", Row(()), Row.of([_POSITIONS], [table]), "computed from sines and cosines")
    report.notes.append("positions that were computed are stored, as if they were learned")
    weights = {**model.weights, _POSITIONS: table}
    return PortableModel(weights, replace(model.description, model=stored), model.aside)


def for_classes(model: PortableModel, classes: Sequence[str], seed: int, report: Report) -> PortableModel:
    """A head for these classes: the rows of the old one where it knows all of them by name, else a new one.

    A new head is made from the seed; without names there is none. Names that the model has twice, as some
    of ImageNet's, say nothing; a head of two layers is always made new, as one of one.
    """
    if classes and _knows(model.description, classes):
        return _with_rows(model, classes, report)
    names = [name for name in model.weights if "classifier." in name or "head.pre_logits." in name]
    dropped = {name: model.weights[name] for name in names}
    if dropped:
        row = Row.of(list(dropped), list(dropped.values()))
        unknown = [name for name in classes if name not in model.description.classes]
        which = f": the model does not know {some_of(unknown)}" if unknown else ""
        report.add("left_out", row, Row(()), f"the head is for other classes{which}")
    config = replace(model.description.model, number_of_classes=len(classes), pre_logits_dimension=None)
    weights = {name: tensor for name, tensor in model.weights.items() if name not in dropped}
    weights |= _new_head(config, seed)
    made = {name: tensor for name, tensor in weights.items() if "classifier." in name}
    if made:
        report.add("newly_made", Row(()), Row.of(list(made), list(made.values())), f"from seed {seed}")
    description = model.description.under_another_head(config, tuple(classes))
    return PortableModel(weights, description, model.aside)


def _knows(description: ModelDescription, classes: Sequence[str]) -> bool:
    counts = Counter(description.classes)
    named = len(description.classes) == description.model.number_of_classes
    one_layer = description.model.pre_logits_dimension is None
    return named and one_layer and all(counts[name] == 1 for name in classes)


def _with_rows(model: PortableModel, classes: Sequence[str], report: Report) -> PortableModel:
    """The head with the rows of these classes; temperature and accuracy are those of all of them together."""
    description = model.description
    rows = [description.classes.index(name) for name in classes]
    heads = [name for name in model.weights if "classifier." in name]
    after = {name: model.weights[name][rows] for name in heads}
    before = Row.of(heads, [model.weights[name] for name in heads])
    how = f"{len(classes)} of {len(description.classes)} classes, by their names"
    report.add("transformed", before, Row.of(heads, list(after.values())), how)
    if len(classes) == len(description.classes):
        changed = replace(description, classes=tuple(classes))
    else:
        config = replace(description.model, number_of_classes=len(classes))
        changed = description.under_another_head(config, tuple(classes))
    return PortableModel({**model.weights, **after}, changed, model.aside)


def _new_head(config: ViTConfig, seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = classification_head(config)
    return {f"head.{name}": value for name, value in head.state_dict().items() if "classifier." in name}


def _with(config: ViTConfig, **changes: object) -> ViTConfig:
    try:
        return replace(config, **changes)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageFailure(str(error)) from error


def _with_positions(
    weights: Mapping[str, Tensor], old: ViTConfig, config: ViTConfig, report: Report
) -> dict[str, Tensor]:
    """The weights with positions for another grid; rows of prefix tokens stay as they are."""
    if _POSITIONS not in weights or old.grid == config.grid:
        return dict(weights)
    table = weights[_POSITIONS]
    prefix = table.shape[1] - old.grid[0] * old.grid[1]
    patches = resize_positions(table[:, prefix:], old.grid, config.grid, config.position_resize)
    resized = torch.cat([table[:, :prefix], patches], dim=1)
    how = f"grid of {old.grid} to {config.grid}, {config.position_resize}"
    report.add("resized", Row.of([_POSITIONS], [table]), Row.of([_POSITIONS], [resized]), how)
    return {**weights, _POSITIONS: resized}


def _pseudo_inverse_resize(
    kernel: Kernel, patch_shape: tuple[int, int]
) -> Float[Tensor, "model_dimension channels new_rows new_columns"]:
    """w' = (B^T)^+ w, where B resizes a patch of the old size to the new one."""
    rows, columns = kernel.shape[2:]
    basis = torch.eye(rows * columns).view(rows * columns, 1, rows, columns)
    resize = F.interpolate(basis, patch_shape, mode="bicubic", antialias=True).flatten(1)
    inverse = torch.linalg.pinv(resize)
    resized = torch.einsum("np,dcp->dcn", inverse, kernel.float().flatten(2))
    return resized.unflatten(2, patch_shape).to(kernel.dtype)


def _kernel(model: PortableModel, config: ViTConfig) -> Kernel:
    """The projection of patches as a convolution's kernel, whichever extractor has it.

    Raises:
        UsageFailure: it stands behind a LayerNorm of pixels, or behind other convolutions.
    """
    if config.patch_normalization:
        raise UsageFailure("patches behind a LayerNorm of their pixels keep their shape and channels")
    if config.patch_extractor == "stem":
        raise UsageFailure("patches that come from a stem of convolutions keep their shape and channels")
    weight = model.weights[_PATCHES]
    if config.patch_extractor == "convolutional":
        return weight
    return weight.unflatten(1, (*config.patch_shape, config.number_of_channels)).permute(0, 3, 1, 2)


def _with_kernel(
    weights: Mapping[str, Tensor], kernel: Kernel, config: ViTConfig, how: str, report: Report
) -> dict[str, Tensor]:
    convolutional = config.patch_extractor == "convolutional"
    after = kernel if convolutional else kernel.permute(0, 2, 3, 1).flatten(1)
    report.add("resized", Row.of([_PATCHES], [weights[_PATCHES]]), Row.of([_PATCHES], [after]), how)
    return {**weights, _PATCHES: after}
