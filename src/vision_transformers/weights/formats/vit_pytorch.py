"""vit-pytorch's `ViT` and `SimpleViT`: names of release 1.16.1 and later; 1.4 to 1.16 are read too."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import Pool, ViTConfig
from vision_transformers.weights.foreign_files import ForeignModel, open_foreign
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import WEIGHTS_ALONE, Format, Given, NotTold
from vision_transformers.weights.formats import weights_alone
from vision_transformers.weights.formats.parts import refuse, stripped
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule, rule, weight_and_bias
from vision_transformers.weights.transformations import Transformation

_LAYER, _OURS = "transformer.layers.{layer}", "transformer.layers.{layer}"
_WITHOUT_BATCH = Transformation(
    "with an axis for the batch",
    lambda tensors: tuple(tensor.reshape(1, -1, tensor.shape[-1]) for tensor in tensors),
    lambda tensors: tuple(tensor[0] for tensor in tensors),
)


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as release 1.16.1 shapes them, without the empty class token of `ViT(pool="mean")`.

    Another class token keeps its axis for the batch, which tells of releases that have it with every pool.
    """
    plain = _of_release(tensors)
    token = stripped(tensors).get("cls_token")
    if token is not None and token.numel():
        return plain | {"cls_token": token}
    return {name: tensor for name, tensor in plain.items() if name != "cls_token"}


def _of_release(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as release 1.16.1 shapes them: tokens and positions without an axis for the batch."""
    plain = stripped(tensors)
    for name in ("cls_token", "pos_embedding"):
        if name in plain and plain[name].ndim == 3:
            plain[name] = plain[name][0]
    return plain


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    simple = _is_simple(config)
    table = [
        *weight_and_bias("to_patch_embedding.1", "patches.patch_normalization"),
        *weight_and_bias("to_patch_embedding.2", "patches.projector"),
        *weight_and_bias("to_patch_embedding.3", "patches.token_normalization"),
        *weight_and_bias(f"{_LAYER}.0.norm", f"{_OURS}.attention_normalization"),
        rule(f"{_LAYER}.0.to_qkv.weight", f"{_OURS}.attention.query_key_value.weight"),
        *weight_and_bias(f"{_LAYER}.1.net.0", f"{_OURS}.feed_forward_normalization"),
        *weight_and_bias(f"{_LAYER}.1.net.1", f"{_OURS}.feed_forward.input_layer"),
        *weight_and_bias(f"{_LAYER}.1.net.{3 if simple else 4}", f"{_OURS}.feed_forward.output_layer"),
        *weight_and_bias("transformer.norm", "transformer.normalization"),
    ]
    if config.class_token:
        table.append(rule("cls_token", "prefix_tokens.class_token.tokens", _WITHOUT_BATCH))
    if config.positions == "learnable":
        table.append(rule("pos_embedding", "positions.position_embeddings", _WITHOUT_BATCH))
    if config.attention_projection:
        place = f"{_LAYER}.0.to_out" if simple else f"{_LAYER}.0.to_out.0"
        table += weight_and_bias(
            place, f"{_OURS}.attention.projection", bias=config.attention_projection_bias
        )
    if config.number_of_classes:
        table += weight_and_bias("linear_head" if simple else "mlp_head", "head.classifier")
    return table


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if vit-pytorch cannot express the architecture."""
    simple = _is_simple(config)
    refuse(
        "vit-pytorch",
        config,
        patch_bias=(True,),
        patch_normalization=(True,),
        patch_extractor=("linear",),
        distillation_token=(False,),
        number_of_register_tokens=(0,),
        positions=("learnable", "sine-cosine"),
        class_token=(False,) if simple else (config.class_token,),
        pool=("class",) if config.class_token else ("mean",),
        normalization_epsilon=(1e-5,),
        normalization_before_blocks=(False,),
        activation=("gelu",),
        query_bias=(False,),
        key_bias=(False,),
        value_bias=(False,),
        attention_projection_bias=(not simple,),
        query_key_normalization=(False,),
        layer_scale=(None,),
        final_normalization=("before-pool",),
        pre_logits_dimension=(None,),
        prefix_positions=("all", "class"),
    )
    alone = config.number_of_heads == 1 and config.head_dimension == config.model_dimension
    refuse("vit-pytorch", config, attention_projection=(simple or not alone,))


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """From shapes, and what is given."""
    return weights_alone.describe(foreign, given, report, _architecture, _preprocessing)


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `model.safetensors`: `load_state_dict(safetensors.torch.load_file(...))` takes it."""
    model = description.model
    if not model.class_token and not _is_simple(model):
        tensors = tensors | {"cls_token": torch.empty(0, model.model_dimension)}
    weights_alone.write(folder, tensors, description)


def reference(path: Path, description: ModelDescription) -> Callable[[Tensor], Tensor]:
    """The model as vit-pytorch builds it, with the weights of a folder.

    Raises:
        UsageFailure: vit-pytorch is not installed, or does not compute this.
    """
    model = description.model
    if model.pool == "mean-all":
        raise UsageFailure("vit-pytorch no longer averages all tokens: leave --verify out")
    if not model.number_of_classes:
        raise UsageFailure(
            "vit-pytorch pools for its head alone: there is nothing to verify features against"
        )
    try:
        from vit_pytorch import SimpleViT, ViT
    except ImportError as error:
        raise UsageFailure("--verify needs vit-pytorch: pip install vit-pytorch") from error
    theirs = (SimpleViT if _is_simple(model) else ViT)(**_arguments(model))
    theirs.load_state_dict(_of_release(open_foreign(path).tensors))
    theirs.eval()
    return lambda images: torch.as_tensor(theirs(images))


def loading(folder: Path, description: ModelDescription) -> tuple[str, ...]:
    """Lines of Python that load what was written; for release 1.16.1 and later."""
    simple = _is_simple(description.model)
    constructor = "vit_pytorch.SimpleViT" if simple else "vit_pytorch.ViT"
    head = "linear_head" if simple else "mlp_head"
    return weights_alone.loading(constructor, _arguments(description.model), head, folder, description)


def _arguments(model: ViTConfig) -> dict[str, Any]:
    """Those of vit-pytorch's constructor."""
    pool = {} if _is_simple(model) else {"pool": "cls" if model.class_token else "mean"}
    return {
        "image_size": model.max_image_shape,
        "patch_size": model.patch_shape,
        "num_classes": model.number_of_classes,
        "dim": model.model_dimension,
        "depth": model.number_of_layers,
        "heads": model.number_of_heads,
        "mlp_dim": model.hidden_dimension,
        "channels": model.number_of_channels,
        "dim_head": model.head_dimension,
        **pool,
    }


def _is_simple(config: ViTConfig) -> bool:
    return config.positions == "sine-cosine"


def _architecture(tensors: Mapping[str, Tensor], given: Given, report: Report) -> ViTConfig:
    if "to_patch_embedding.3.weight" not in tensors or "transformer.norm.weight" not in tensors:
        raise UsageFailure(
            "these are weights of vit-pytorch before 1.4, whose model was another: not read here"
        )
    width, flat = shape_of(tensors, "to_patch_embedding.2.weight", 2)
    simple = "pos_embedding" not in tensors
    class_token = "cls_token" in tensors
    pool = _pool(tensors, given, report)
    channels, side = _channels_and_side(flat)
    what = "three channels" if channels == 3 else "one channel"
    report.notes.append(f"patches of {side} x {side} pixels with {what}")
    patch = (side, side)
    heads = weights_alone.heads(width, {}, given, report)
    attention = shape_of(tensors, "transformer.layers.0.0.to_qkv.weight", 2)[0] // 3
    place = "transformer.layers.0.0.to_out"
    classifier = "linear_head.weight" if simple else "mlp_head.weight"
    patches = 0 if simple else shape_of(tensors, "pos_embedding", 2)[0] - class_token
    if simple and given.max_image_shape is None:
        raise NotTold("SimpleViT stores no positions", "--max-image-shape ROWS COLUMNS")
    return ViTConfig(
        patch_shape=patch,
        model_dimension=width,
        number_of_layers=weights_alone.layers(tensors, "transformer.layers."),
        number_of_heads=heads,
        hidden_dimension=shape_of(tensors, "transformer.layers.0.1.net.1.weight", 2)[0],
        number_of_channels=channels,
        number_of_classes=length_of(tensors, classifier, 2, 0),
        max_image_shape=given.max_image_shape or weights_alone.image_shape(patches, patch, given),
        patch_normalization=True,
        class_token=class_token,
        positions="sine-cosine" if simple else "learnable",
        normalization_epsilon=1e-5,
        query_bias=False,
        key_bias=False,
        value_bias=False,
        attention_dimension=None if attention == width else attention,
        attention_projection=f"{place}.0.weight" in tensors or f"{place}.weight" in tensors,
        attention_projection_bias=not simple,
        pool=pool,
    )


def _channels_and_side(numbers: int) -> tuple[int, int]:
    """Channels, and rows and columns of pixels, of a square patch of so many numbers: no number fits two.

    Raises:
        UsageFailure: none fits.
    """
    for channels in (1, 3):
        side = round((numbers / channels) ** 0.5)
        if side * side * channels == numbers:
            return channels, side
    raise UsageFailure(
        f"{numbers} numbers of a patch are no square of one or three channels: convert square ones"
    )


def _pool(tensors: Mapping[str, Tensor], given: Given, report: Report) -> Pool:
    """What the head reads: releases up to 1.15.7 have a class token that `mean` averages with the patches.

    Raises:
        UsageFailure: another pool is given than the tensors leave open.
    """
    if "cls_token" not in tensors:
        possible: tuple[Pool, ...] = ("mean",)
    elif tensors["cls_token"].ndim < 3:
        possible = ("class",)
    else:
        possible = ("class", "mean-all")
    if given.pool not in (None, *possible):
        raise UsageFailure(f"--pool {given.pool} is none of these weights: expected {' or '.join(possible)}")
    if given.pool is None and len(possible) > 1:
        report.notes.append(
            "pool class is assumed, which files of releases up to 1.15.7 do not tell from ViT(pool='mean'): "
            "that is --pool mean-all here"
        )
    return given.pool or possible[0]


def _preprocessing(model: ViTConfig) -> Preprocessing:
    """vit-pytorch says nothing of it: pixels from -1 to 1."""
    return Preprocessing(size=model.max_image_shape, crop="squash", mean=(0.5,), std=(0.5,))


VIT_PYTORCH = Format(
    name="vit-pytorch",
    given=(*WEIGHTS_ALONE, "pool"),
    recognises=lambda tensors: "to_patch_embedding.1.weight" in stripped(tensors),
    canonical=canonical,
    describe=describe,
    rules=rules,
    aside=(),
    check=check,
    write=write,
    reference=reference,
    loading=loading,
    computes_positions=("sine-cosine",),
)
