"""facebookresearch's files: DeiT, DeiT III, MAE's encoder, DINOv2 with timm's names nearly; DINOv3."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.model.config import PositionResize, ViTConfig
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.formats import facebook_dinov3, timm, weights_alone
from vision_transformers.weights.formats.parts import refuse, stripped
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule

_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
_WITHOUT_A_PLACE = r"decoder_.*|mask_token|dino_head\..*|rope_embed\..*|local_cls_norm\..*"
"""Of training, and the periods of rotary positions, which are computed here."""


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefix of a training script, and without the chunks of blocks of DINOv2."""
    return {
        re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name.removeprefix("backbone.")): tensor
        for name, tensor in stripped(tensors).items()
    }


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture: timm's, under the names of these files."""
    if config.positions == "rotary":
        return facebook_dinov3.rules(config)
    return [
        replace(each, theirs=tuple(_name(name, config) for name in each.theirs))
        for each in timm.rules(config)
    ]


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if none of these projects has the architecture."""
    if config.positions == "rotary":
        facebook_dinov3.check(config)
        return
    if config.distillation_token:  # DeiT alone has one
        refuse(
            "facebook, with a distillation token,",
            config,
            number_of_register_tokens=(0,),
            layer_scale=(None,),
            prefix_positions=("all",),
        )
    refuse(
        "facebook",
        config,
        normalization_epsilon=(1e-6,),
        normalization_before_blocks=(False,),
        query_key_normalization=(False,),
        attention_projection_bias=(True,),
        positions=("learnable",),
        pool=("class", "mean"),
        activation=("gelu", "swiglu"),
        class_token=(True,),
        query_bias=(True,),
        key_bias=(True,),
        value_bias=(True,),
        patch_bias=(True,),
        patch_normalization=(False,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        pre_logits_dimension=(None,),
        # Files do not tell the pool: these are read as the class token's and as the mean's.
        final_normalization=("after-pool",) if config.pool == "mean" else ("before-pool",),
        prefix_positions=("class",)
        if config.number_of_register_tokens
        else ("all", "class", "none")
        if config.layer_scale is not None
        else ("all", "class"),
    )


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """From shapes, and what the published models have."""
    return weights_alone.describe(
        foreign, given, report, _architecture, lambda model: _preprocessing(model, foreign.tensors, report)
    )


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `model.safetensors`, as strict loading by the projects' code takes it.

    DINOv2 and DINOv3 have a mask token, which is of training: zeros, if it was not in a file of theirs.
    """
    weights_alone.write(folder, _mask_and_periods(description.model, tensors) | tensors, description)


def _mask_and_periods(config: ViTConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What DINOv2 and DINOv3 store besides what features depend on; the others nothing."""
    if config.layer_scale is None or config.prefix_positions == "none":
        return {}
    mask = {"mask_token": torch.zeros_like(tensors["cls_token"][0])}
    return mask | (facebook_dinov3.periods(config) if config.positions == "rotary" else {})


def _name(name: str, config: ViTConfig) -> str:
    name = name.replace("reg_token", "register_tokens")
    if config.activation == "swiglu":
        name = name.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3.")
    if config.prefix_positions == "none":  # DeiT III
        name = name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")
    return name


def _architecture(tensors: Mapping[str, Tensor], given: Given, report: Report) -> ViTConfig:
    if facebook_dinov3.is_dinov3(tensors):
        return facebook_dinov3.architecture(tensors, given, report)
    width, channels, rows, columns = shape_of(tensors, "patch_embed.proj.weight", 4)
    registers = length_of(tensors, "register_tokens", 3, 1)
    is_deit3 = "blocks.0.gamma_1" in tensors
    is_dinov2 = "blocks.0.ls1.gamma" in tensors
    with_position = 0 if is_deit3 else 1 + ("dist_token" in tensors)
    prefix_positions: Literal["none", "class", "all"] = (
        "none" if is_deit3 else "class" if registers else "all"
    )
    resize: PositionResize = "bicubic"
    if is_dinov2:
        resize = "bicubic-antialias" if registers else "bicubic-offset"
    gated = "blocks.0.mlp.w12.weight" in tensors
    second = "blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"
    patches = shape_of(tensors, "pos_embed", 3)[1] - with_position
    after_pool = "fc_norm.weight" in tensors
    return ViTConfig(
        patch_shape=(rows, columns),
        model_dimension=width,
        number_of_layers=weights_alone.layers(tensors, "blocks."),
        number_of_heads=weights_alone.heads(width, _HEADS, given, report),
        hidden_dimension=shape_of(tensors, second, 2)[1],
        number_of_channels=channels,
        number_of_classes=length_of(tensors, "head.weight", 2, 0),
        max_image_shape=weights_alone.image_shape(patches, (rows, columns), given),
        distillation_token="dist_token" in tensors,
        number_of_register_tokens=registers,
        prefix_positions=prefix_positions,
        position_resize=resize,
        activation="swiglu" if gated else "gelu",
        layer_scale=1e-5 if is_deit3 or is_dinov2 else None,
        pool="mean" if after_pool else "class",
        final_normalization="after-pool" if after_pool else "before-pool",
    )


def _preprocessing(model: ViTConfig, tensors: Mapping[str, Tensor], report: Report) -> Preprocessing:
    """The middle of a larger picture, of 224 pixels also for DINOv2, whose positions are made for 518."""
    if model.positions == "rotary":
        return facebook_dinov3.preprocessing(model, tensors, report)
    return Preprocessing(
        size=(224, 224) if model.max_image_shape == (518, 518) else model.max_image_shape,
        crop="center",
        crop_fraction=_crop_fraction(model, report),
        interpolation="bicubic",
        mean=weights_alone.IMAGENET_MEAN,
        std=weights_alone.IMAGENET_STD,
    )


def _crop_fraction(model: ViTConfig, report: Report) -> float:
    """224 of 256 pixels; above 224 all for DeiT III, as timm has it, and for MAE (its util/datasets.py)."""
    is_deit3, is_mae = model.prefix_positions == "none", model.pool == "mean"
    if max(model.max_image_shape) > 224:
        return 1.0 if is_deit3 or is_mae else 224 / 256
    if is_deit3:
        report.notes.append(
            "pictures are cropped as for DeiT III trained on ImageNet-1k: what was first trained on "
            "ImageNet-22k, which has the same shapes, has a crop_fraction of 1.0"
        )
    return 224 / 256


def _recognises(tensors: Mapping[str, Tensor]) -> bool:
    """timm's own files have some of these names too: DeiT's and MAE's are the same."""
    names = canonical(tensors)
    return "patch_embed.proj.weight" in names and "reg_token" not in names and "norm_pre.weight" not in names


FACEBOOK = Format(
    name="facebook",
    recognises=_recognises,
    canonical=canonical,
    describe=describe,
    rules=rules,
    aside=(_WITHOUT_A_PLACE,),
    check=check,
    write=write,
)
