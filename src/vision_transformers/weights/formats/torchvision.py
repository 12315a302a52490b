"""torchvision's `VisionTransformer` (`vit_b_16` and its kin)."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.foreign_files import ForeignModel, open_foreign
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.formats import weights_alone
from vision_transformers.weights.formats.parts import patches, refuse, stripped
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule, rule, weight_and_bias

_LAYER, _OURS = "encoder.layers.encoder_layer_{layer}", "transformer.layers.{layer}"
_HEAD = re.compile(r"heads\.(head\.)?(\d+\.)?(weight|bias)")
"""Tensors of a head, or of layers that a person put in its place, by number in an `nn.Sequential`."""
_HEADS = {768: 12, 1024: 16, 1280: 16}


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published files call the network's layers `linear_1` and `linear_2`; newer ones `0` and `3`."""
    plain = {
        re.sub(r"mlp\.linear_([12])\.", lambda match: f"mlp.{3 * int(match[1]) - 3}.", name): tensor
        for name, tensor in stripped(tensors).items()
    }
    return _with_head(plain)


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    attention, ours = f"{_LAYER}.self_attention", f"{_OURS}.attention"
    table = [
        *patches("conv_proj", config),
        rule("class_token", "prefix_tokens.class_token.tokens"),
        rule("encoder.pos_embedding", "positions.position_embeddings"),
        *weight_and_bias(f"{_LAYER}.ln_1", f"{_OURS}.attention_normalization"),
        rule(f"{attention}.in_proj_weight", f"{ours}.query_key_value.weight"),
        rule(f"{attention}.in_proj_bias", f"{ours}.query_key_value.bias"),
        *weight_and_bias(f"{attention}.out_proj", f"{ours}.projection"),
        *weight_and_bias(f"{_LAYER}.ln_2", f"{_OURS}.feed_forward_normalization"),
        *weight_and_bias(f"{_LAYER}.mlp.0", f"{_OURS}.feed_forward.input_layer"),
        *weight_and_bias(f"{_LAYER}.mlp.3", f"{_OURS}.feed_forward.output_layer"),
        *weight_and_bias("encoder.ln", "transformer.normalization"),
    ]
    if config.pre_logits_dimension is not None:
        table += weight_and_bias("heads.pre_logits", "head.pre_logits.0")
    if config.number_of_classes:
        table += weight_and_bias("heads.head", "head.classifier")
    return table


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if torchvision cannot express the architecture."""
    refuse(
        "torchvision",
        config,
        number_of_channels=(3,),
        max_image_shape=((config.max_image_shape[0],) * 2,),
        patch_shape=((config.patch_shape[0],) * 2,),
        patch_bias=(True,),
        patch_normalization=(False,),
        class_token=(True,),
        distillation_token=(False,),
        number_of_register_tokens=(0,),
        positions=("learnable",),
        prefix_positions=("all", "class"),
        normalization_epsilon=(1e-6,),
        normalization_before_blocks=(False,),
        activation=("gelu",),
        query_bias=(True,),
        key_bias=(True,),
        value_bias=(True,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        attention_projection_bias=(True,),
        query_key_normalization=(False,),
        layer_scale=(None,),
        pool=("class",),
        final_normalization=("before-pool",),
    )


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """From shapes, and what the published models have."""
    return weights_alone.describe(
        foreign, given, report, _architecture, lambda model: _preprocessing(model, report)
    )


def reference(path: Path, description: ModelDescription) -> Callable[[Tensor], Tensor]:
    """The model as torchvision builds it, with the weights of a folder."""
    from torchvision.models import VisionTransformer

    model = description.model
    if not model.number_of_classes:
        raise UsageFailure("torchvision always has a head: there is nothing to verify features against")
    theirs = VisionTransformer(**_arguments(model))
    theirs.load_state_dict(canonical(open_foreign(path).tensors))
    theirs.eval()
    return lambda images: torch.as_tensor(theirs(images))


def loading(folder: Path, description: ModelDescription) -> tuple[str, ...]:
    """Lines of Python that load what was written."""
    constructor, arguments = "torchvision.models.VisionTransformer", _arguments(description.model)
    return weights_alone.loading(constructor, arguments, "heads", folder, description)


def _arguments(model: ViTConfig) -> dict[str, Any]:
    """Those of torchvision's constructor."""
    return {
        "image_size": model.max_image_shape[0],
        "patch_size": model.patch_shape[0],
        "num_layers": model.number_of_layers,
        "num_heads": model.number_of_heads,
        "hidden_dim": model.model_dimension,
        "mlp_dim": model.hidden_dimension,
        "num_classes": model.number_of_classes,
        "representation_size": model.pre_logits_dimension,
    }


def _with_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A linear layer in place of the head, or of all heads, as the head; dropouts have no tensors."""
    layers = {name.rpartition(".")[0] for name in tensors if _HEAD.fullmatch(name)}
    if len(layers) != 1:
        return tensors
    return {
        f"heads.head.{name.rpartition('.')[2]}" if _HEAD.fullmatch(name) else name: tensor
        for name, tensor in tensors.items()
    }


def _architecture(tensors: Mapping[str, Tensor], given: Given, report: Report) -> ViTConfig:
    width, channels, rows, columns = shape_of(tensors, "conv_proj.weight", 4)
    number_of_patches = shape_of(tensors, "encoder.pos_embedding", 3)[1] - 1
    return ViTConfig(
        patch_shape=(rows, columns),
        model_dimension=width,
        number_of_layers=weights_alone.layers(tensors, "encoder.layers."),
        number_of_heads=weights_alone.heads(width, _HEADS, given, report),
        hidden_dimension=shape_of(tensors, "encoder.layers.encoder_layer_0.mlp.0.weight", 2)[0],
        number_of_channels=channels,
        number_of_classes=length_of(tensors, "heads.head.weight", 2, 0),
        max_image_shape=weights_alone.image_shape(number_of_patches, (rows, columns), given),
        position_resize="bicubic-aligned-corners",
        pre_logits_dimension=length_of(tensors, "heads.pre_logits.weight", 2, 0) or None,
    )


def _preprocessing(model: ViTConfig, report: Report) -> Preprocessing:
    """Of IMAGENET1K_V1; at 384 pixels and more, and of ViT-H, which has no others, of the SWAG weights."""
    side, shapes = model.max_image_shape[0], (model.model_dimension, model.patch_shape[0])
    is_swag = side >= 384 or model.model_dimension == 1280
    resized = 242 if shapes == (1024, 16) else 256
    if side == 224 and shapes in ((768, 16), (1024, 16)):
        report.notes.append(
            "preprocessing is of IMAGENET1K_V1: IMAGENET1K_SWAG_LINEAR_V1, which has the same shapes, is "
            "resized to 224 pixels, bicubic"
        )
    return Preprocessing(
        size=model.max_image_shape,
        crop="center",
        crop_fraction=1.0 if is_swag else 224 / resized,
        interpolation="bicubic" if is_swag else "bilinear",
        mean=weights_alone.IMAGENET_MEAN,
        std=weights_alone.IMAGENET_STD,
    )


TORCHVISION = Format(
    name="torchvision",
    recognises=lambda tensors: "conv_proj.weight" in stripped(tensors),
    canonical=canonical,
    describe=describe,
    rules=rules,
    aside=(),
    check=check,
    write=weights_alone.write,
    reference=reference,
    loading=loading,
)
