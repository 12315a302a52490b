"""facebookresearch's files of DINOv3: rotary positions, storage tokens, and biases behind a mask."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats import weights_alone
from vision_transformers.weights.formats.parts import patches, refuse
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule, rule, weight_and_bias
from vision_transformers.weights.transformations import Tensors, Transformation, joined

_LAYER, _OURS = "blocks.{layer}", "transformer.layers.{layer}"
_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 18, 1280: 20, 4096: 32}
_SATELLITE_MEAN, _SATELLITE_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)
"""Of SAT-493M, by the project's README."""


def is_dinov3(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of DINOv3."""
    return "storage_tokens" in tensors or "rope_embed.periods" in tensors


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    attention, ours = f"{_LAYER}.attn", f"{_OURS}.attention"
    table = [*patches("patch_embed.proj", config), rule("cls_token", "prefix_tokens.class_token.tokens")]
    if config.number_of_register_tokens:
        table.append(rule("storage_tokens", "prefix_tokens.registers.tokens"))
    table += [
        *weight_and_bias(f"{_LAYER}.norm1", f"{_OURS}.attention_normalization"),
        rule(f"{attention}.qkv.weight", f"{ours}.query_key_value.weight"),
        *weight_and_bias(f"{attention}.proj", f"{ours}.projection"),
        rule(f"{_LAYER}.ls1.gamma", f"{_OURS}.attention_scale.scale"),
        *weight_and_bias(f"{_LAYER}.norm2", f"{_OURS}.feed_forward_normalization"),
        *_network(config),
        rule(f"{_LAYER}.ls2.gamma", f"{_OURS}.feed_forward_scale.scale"),
        *weight_and_bias("norm", "transformer.normalization"),
    ]
    if config.query_bias:
        biases = (f"{attention}.qkv.bias", f"{attention}.qkv.bias_mask")
        table.append(rule(biases, f"{ours}.query_key_value.bias", _MASKED))
    return table


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if DINOv3 cannot express the architecture."""
    refuse(
        "facebook (DINOv3)",
        config,
        number_of_classes=(0,),
        patch_bias=(True,),
        patch_normalization=(False,),
        class_token=(True,),
        distillation_token=(False,),
        rotary_base=(100.0,),
        normalization_epsilon=(1e-5,),
        normalization_before_blocks=(False,),
        activation=("gelu", "swiglu"),
        query_bias=(config.value_bias,),
        key_bias=(False,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        attention_projection_bias=(True,),
        query_key_normalization=(False,),
        layer_scale=tuple(value for value in (config.layer_scale,) if value is not None),
        pool=("class",),
        final_normalization=("before-pool",),
        pre_logits_dimension=(None,),
    )


def architecture(tensors: Mapping[str, Tensor], given: Given, report: Report) -> ViTConfig:
    """From shapes, and what the published models have; rotary positions are made for no size of images.

    Raises:
        UsageFailure: the class token has a norm of its own.
    """
    if "cls_norm.weight" in tensors:
        raise UsageFailure(
            "these weights have cls_norm, a norm of their own for the class token and the registers "
            "(untie_cls_and_patch_norms), which none here has: they are not read"
        )
    width, channels, rows, columns = shape_of(tensors, "patch_embed.proj.weight", 4)
    gated, biased = "blocks.0.mlp.w3.weight" in tensors, "blocks.0.attn.qkv.bias" in tensors
    second = "blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"
    return ViTConfig(
        patch_shape=(rows, columns),
        model_dimension=width,
        number_of_layers=weights_alone.layers(tensors, "blocks."),
        number_of_heads=weights_alone.heads(width, _HEADS, given, report),
        hidden_dimension=shape_of(tensors, second, 2)[1],
        number_of_channels=channels,
        number_of_classes=0,
        max_image_shape=given.max_image_shape or (224, 224),
        number_of_register_tokens=length_of(tensors, "storage_tokens", 3, 1),
        positions="rotary",
        normalization_epsilon=1e-5,
        activation="swiglu" if gated else "gelu",
        query_bias=biased,
        key_bias=False,
        value_bias=biased,
        layer_scale=1e-5,
    )


def periods(config: ViTConfig) -> dict[str, Tensor]:
    """The periods of rotary positions, which are stored there, by their name."""
    count = config.head_dimension // 4
    return {"rope_embed.periods": config.rotary_base ** (torch.arange(count) / count)}


def preprocessing(model: ViTConfig, tensors: Mapping[str, Tensor], report: Report) -> Preprocessing:
    """Squashed; a ViT-L with a norm of local class tokens is the one that was trained on satellite images."""
    if model.model_dimension == 4096:
        report.notes.append(
            f"mean and std are ImageNet's, for LVD-1689M: SAT-493M, which has the same shapes, has "
            f"{list(_SATELLITE_MEAN)} and {list(_SATELLITE_STD)}"
        )
    if model.model_dimension == 1024 and "local_cls_norm.weight" in tensors:
        return Preprocessing(size=model.max_image_shape, mean=_SATELLITE_MEAN, std=_SATELLITE_STD)
    return Preprocessing(
        size=model.max_image_shape, mean=weights_alone.IMAGENET_MEAN, std=weights_alone.IMAGENET_STD
    )


def _network(config: ViTConfig) -> list[Rule]:
    network = f"{_OURS}.feed_forward"
    if config.activation == "swiglu":
        gate_and_up = (f"{_LAYER}.mlp.w1", f"{_LAYER}.mlp.w2")
        return [
            *weight_and_bias(gate_and_up, f"{network}.gate_up_layer", joined(2)),
            *weight_and_bias(f"{_LAYER}.mlp.w3", f"{network}.output_layer"),
        ]
    return [
        *weight_and_bias(f"{_LAYER}.mlp.fc1", f"{network}.input_layer"),
        *weight_and_bias(f"{_LAYER}.mlp.fc2", f"{network}.output_layer"),
    ]


def _without_mask(tensors: Tensors) -> Tensors:
    bias, mask = tensors
    queries, _, values = (bias * mask).chunk(3)
    return (torch.cat([queries, values]),)


def _with_mask(tensors: Tensors) -> Tensors:
    queries, values = tensors[0].chunk(2)
    nothing, one = torch.zeros_like(queries), torch.ones_like(queries)
    return torch.cat([queries, nothing, values]), torch.cat([one, nothing, one])


_MASKED = Transformation(
    "mask multiplied in",
    _without_mask,
    _with_mask,
    loses="biases of keys, which a mask of 0 hides, come back as 0",
)
