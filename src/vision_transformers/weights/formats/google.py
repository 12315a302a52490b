"""Google's Flax files (`.npz`): those of vision_transformer and of big_vision."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.files import fill_file
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.formats import weights_alone
from vision_transformers.weights.formats.parts import refuse
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule, rule
from vision_transformers.weights.transformations import (
    TRANSPOSED,
    Transformation,
    head_biases,
    head_kernels,
    output_kernel,
    patch_kernel_of_flax,
)

_PREFIXES = ("opt/target/", "params/img/", "params/", "img/")
_BLOCK, _OURS = "Transformer/encoderblock_{layer}", "transformer.layers.{layer}"
_RELEASED = {
    # Names of big_vision, which current code has too, and of the files that vision_transformer released.
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "MlpBlock_0": "MlpBlock_3",
    "LayerNorm_1": "LayerNorm_2",
}


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under big_vision's names, one block at a time."""
    prefix = next((each for each in _PREFIXES if f"{each}embedding/kernel" in tensors), "")
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            plain |= _unstacked(_current(name.removeprefix(prefix)), tensor)
    return plain


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    kernel = patch_kernel_of_flax(
        config.patch_shape, config.number_of_channels, config.patch_extractor == "convolutional"
    )
    table = [
        rule("embedding/kernel", "patches.projector.weight", kernel),
        rule("embedding/bias", "patches.projector.bias"),
    ]
    if config.class_token:
        table.append(rule("cls", "prefix_tokens.class_token.tokens"))
    if config.positions == "learnable":
        table.append(rule("pos_embedding", "positions.position_embeddings"))
    table += [
        *_normalization(f"{_BLOCK}/LayerNorm_0", f"{_OURS}.attention_normalization"),
        *_attention(config),
        *_normalization(f"{_BLOCK}/LayerNorm_1", f"{_OURS}.feed_forward_normalization"),
        *_dense(f"{_BLOCK}/MlpBlock_0/Dense_0", f"{_OURS}.feed_forward.input_layer"),
        *_dense(f"{_BLOCK}/MlpBlock_0/Dense_1", f"{_OURS}.feed_forward.output_layer"),
        *_normalization("Transformer/encoder_norm", "transformer.normalization"),
    ]
    if config.pool == "attention":
        table += _attention_pool(config)
    if config.pre_logits_dimension is not None:
        table += _dense("pre_logits", "head.pre_logits.0")
    return [*table, *(_dense("head", "head.classifier") if config.number_of_classes else [])]


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if these projects cannot express the architecture."""
    refuse(
        "google",
        config,
        patch_bias=(True,),
        patch_normalization=(False,),
        distillation_token=(False,),
        number_of_register_tokens=(0,),
        positions=("learnable", "sine-cosine"),
        normalization_epsilon=(1e-6,),
        normalization_before_blocks=(False,),
        activation=("gelu-tanh",),
        query_bias=(True,),
        key_bias=(True,),
        value_bias=(True,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        attention_projection_bias=(True,),
        query_key_normalization=(False,),
        layer_scale=(None,),
        pool=("class",) if config.class_token else ("mean", "attention"),
        final_normalization=("before-pool",),
    )


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """From shapes, which here tell the heads too."""
    return weights_alone.describe(foreign, given, report, _architecture, _preprocessing)


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `model.npz`, with a class token under the names that vision_transformer released."""
    released = description.model.class_token and description.model.prefix_positions != "none"
    arrays = {
        _released(name) if released else name: _array(tensor.contiguous()) for name, tensor in tensors.items()
    }

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            # Numbers are never pickled. NumPy 2.1 would take `allow_pickle` for the name of an array.
            np.savez(file, **arrays)  # type: ignore[arg-type]

    fill_file(folder / "model.npz", fill)


def _array(tensor: Tensor) -> np.ndarray:
    """As numpy has it; bfloat16, for which numpy has no type, as two bytes, as JAX's files have it."""
    return tensor.view(torch.int16).numpy().view("V2") if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _current(name: str) -> str:
    """A released or very old name as today's."""
    name = name.replace("Transformer/posembed_input/pos_embedding", "pos_embedding")
    name = name.replace("Transformer/pos_embedding", "pos_embedding")
    block = re.match(r"Transformer/encoderblock(_\d+)?/", name)
    if block is None:
        return name
    for current, released in _RELEASED.items():
        name = name.replace(f"/{released}/", f"/{current}/")
    return name


def _released(name: str) -> str:
    if name == "pos_embedding":
        return "Transformer/posembed_input/pos_embedding"
    if name.startswith("Transformer/encoderblock_"):
        for current, released in _RELEASED.items():
            name = name.replace(f"/{current}/", f"/{released}/")
    return name


def _unstacked(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The layers of a scanned file, whose blocks lie along the first axis."""
    place = "Transformer/encoderblock/"
    if not name.startswith(place):
        return {name: tensor}
    rest = name.removeprefix(place)
    return {f"Transformer/encoderblock_{layer}/{rest}": part for layer, part in enumerate(tensor.unbind(0))}


def _normalization(theirs: str, ours: str) -> list[Rule]:
    return [rule(f"{theirs}/scale", f"{ours}.weight"), rule(f"{theirs}/bias", f"{ours}.bias")]


def _dense(theirs: str, ours: str) -> list[Rule]:
    return [rule(f"{theirs}/kernel", f"{ours}.weight", TRANSPOSED), rule(f"{theirs}/bias", f"{ours}.bias")]


def _attention(config: ViTConfig) -> list[Rule]:
    theirs, ours = f"{_BLOCK}/MultiHeadDotProductAttention_0", f"{_OURS}.attention"
    return [
        *_by_head(theirs, ("query", "key", "value"), f"{ours}.query_key_value", config),
        rule(f"{theirs}/out/kernel", f"{ours}.projection.weight", output_kernel(config.number_of_heads)),
        rule(f"{theirs}/out/bias", f"{ours}.projection.bias"),
    ]


def _by_head(theirs: str, names: tuple[str, ...], ours: str, config: ViTConfig) -> list[Rule]:
    heads, parts = config.number_of_heads, len(names)
    pairs: tuple[tuple[str, str, Transformation], ...] = (
        ("kernel", "weight", head_kernels(heads, parts)),
        ("bias", "bias", head_biases(heads, parts)),
    )
    return [
        rule(tuple(f"{theirs}/{name}/{kind}" for name in names), f"{ours}.{own}", transformation)
        for kind, own, transformation in pairs
    ]


def _attention_pool(config: ViTConfig) -> list[Rule]:
    theirs, ours = "MAPHead_0", "head.pool"
    attention = f"{theirs}/MultiHeadDotProductAttention_0"
    return [
        rule(f"{theirs}/probe", f"{ours}.probe"),
        *_by_head(attention, ("query",), f"{ours}.query", config),
        *_by_head(attention, ("key", "value"), f"{ours}.key_value", config),
        rule(f"{attention}/out/kernel", f"{ours}.projection.weight", output_kernel(config.number_of_heads)),
        rule(f"{attention}/out/bias", f"{ours}.projection.bias"),
        *_normalization(f"{theirs}/LayerNorm_0", f"{ours}.normalization"),
        *_dense(f"{theirs}/MlpBlock_0/Dense_0", f"{ours}.feed_forward.input_layer"),
        *_dense(f"{theirs}/MlpBlock_0/Dense_1", f"{ours}.feed_forward.output_layer"),
    ]


def _architecture(tensors: Mapping[str, Tensor], given: Given, report: Report) -> ViTConfig:
    rows, columns, channels, width = shape_of(tensors, "embedding/kernel", 4)
    block = "Transformer/encoderblock_0"
    class_token = "cls" in tensors
    blocks = {name.split("/")[1] for name in tensors if name.startswith("Transformer/encoderblock_")}
    count = length_of(tensors, "pos_embedding", 3, 1)
    side = round(count**0.5)
    with_position = class_token and side * side != count
    report.notes.append("GELU by its tanh approximation, as Flax has it")
    return ViTConfig(
        patch_shape=(rows, columns),
        model_dimension=width,
        number_of_layers=len(blocks),
        number_of_heads=shape_of(tensors, f"{block}/MultiHeadDotProductAttention_0/query/kernel", 3)[1],
        hidden_dimension=shape_of(tensors, f"{block}/MlpBlock_0/Dense_0/kernel", 2)[1],
        number_of_channels=channels,
        number_of_classes=length_of(tensors, "head/kernel", 2, 1),
        max_image_shape=weights_alone.image_shape(count - with_position, (rows, columns), given)
        if count
        else given.max_image_shape or (224, 224),
        class_token=class_token,
        positions="learnable" if count else "sine-cosine",
        prefix_positions="all" if with_position or not class_token else "none",
        position_resize="bilinear-aligned-corners",
        activation=given.activation or "gelu-tanh",
        pool="attention" if "MAPHead_0/probe" in tensors else "class" if class_token else "mean",
        pre_logits_dimension=length_of(tensors, "pre_logits/kernel", 2, 1) or None,
    )


def _preprocessing(model: ViTConfig) -> Preprocessing:
    """Pixels from -1 to 1, squashed to the square; for big_vision's means of patches the middle of 256."""
    if model.pool == "mean":  # big_vision/configs/vit_s16_i1k.py: resize_small(256)|central_crop(224)
        return Preprocessing(size=model.max_image_shape, crop="center", crop_fraction=224 / 256)
    return Preprocessing(size=model.max_image_shape, crop="squash", mean=(0.5,), std=(0.5,))


GOOGLE = Format(
    name="google",
    given=("activation", "max_image_shape", "classes"),
    recognises=lambda tensors: any(name.endswith("embedding/kernel") for name in tensors),
    canonical=canonical,
    describe=describe,
    rules=rules,
    aside=(),
    check=check,
    write=write,
    computes_positions=("sine-cosine",),
)
