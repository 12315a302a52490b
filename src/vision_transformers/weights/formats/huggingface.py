"""Hugging Face transformers: ViT, DeiT, ViTMAE's encoder, DINOv2 with and without registers, DINOv3.

Tensors carry the names of files, which releases 4 and 5 both write; release 5's names in memory are read too.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.format import Format
from vision_transformers.weights.formats import huggingface_reading, huggingface_writing
from vision_transformers.weights.formats.huggingface_reading import ACTIVATIONS, Family
from vision_transformers.weights.formats.huggingface_writing import family
from vision_transformers.weights.formats.parts import patches, refuse, stripped
from vision_transformers.weights.rules import Rule, rule, weight_and_bias
from vision_transformers.weights.transformations import joined

_OURS = "transformer.layers.{layer}"
_PREFIXES = ("vit", "deit", "dinov2_with_registers", "dinov2", "model")
"""Of the encoder's names in a model that has a head."""
_OF_RELEASE_5 = (
    # ViT, DeiT, ViTMAE, and then DINOv2, in the memory of release 5: pattern, name in files.
    (r"layers\.(\d+)\.mlp\.fc1\.(\w+)", r"encoder.layer.\1.intermediate.dense.\2"),
    (r"layers\.(\d+)\.mlp\.fc2\.(\w+)", r"encoder.layer.\1.output.dense.\2"),
    (r"layers\.(\d+)\.(.*)", r"encoder.layer.\1.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.(q|k|v)_proj\.(\w+)", r"encoder.layer.\1.attention.attention.\2.\3"),
    (r"encoder\.layer\.(\d+)\.mlp\.down_proj\.(\w+)", r"encoder.layer.\1.mlp.weights_out.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.o_proj\.(\w+)", r"encoder.layer.\1.attention.output.dense.\2"),
)
_GATE = re.compile(r"(encoder\.layer\.\d+\.mlp)\.gate_proj\.(\w+)")
"""Of DINOv2 in the memory of release 5, which has the gate and what it gates in two layers, not in one."""
_LETTERS = {"q": "query", "k": "key", "v": "value"}
_PREFIX_POSITIONS: dict[str, tuple[str, ...]] = {
    "vit": ("all", "class"),
    "deit": ("all",),
    "dinov2": ("all", "class"),
    "dinov2_with_registers": ("class",),
}
"""Of which prefix tokens the table of positions has rows; DINOv3's models have none."""


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of files, without the prefix of a model with a head."""
    return _with_gates_joined({_name(name): tensor for name, tensor in stripped(tensors).items()})


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    match family(config):
        case "vit" | "deit":
            table = [*_embeddings(config), *_layers_of_vit(config)]
        case "dinov2" | "dinov2_with_registers":
            table = [*_embeddings(config), *_layers_of_dinov2(config)]
        case "dinov3_vit":
            table = [*_embeddings(config, "embeddings.patch_embeddings"), *_layers_of_dinov3(config)]
    final = "norm" if family(config) == "dinov3_vit" else "layernorm"
    return [*table, *weight_and_bias(final, "transformer.normalization"), *_head(config)]


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if transformers cannot express the architecture."""
    kind = family(config)
    _check_distillation_and_scales(config, kind)
    refuse(
        f"huggingface ({kind})",
        config,
        patch_bias=(True,),
        patch_normalization=(False,),
        class_token=(True,),
        normalization_before_blocks=(False,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        query_key_normalization=(False,),
        pre_logits_dimension=(None,),
        final_normalization=("before-pool",),
        positions=("rotary",) if kind == "dinov3_vit" else ("learnable",),
        layer_scale=(None,) if kind in ("vit", "deit") else (config.layer_scale,),
    )
    dinov2 = kind.startswith("dinov2")
    both_heads_or_none = kind == "deit" and (config.distillation_token or not config.number_of_classes)
    refuse(
        f"huggingface ({kind})",
        config,
        pool=("class-mean",) if dinov2 and config.number_of_classes else ("class",),
        activation=tuple(ACTIVATIONS) if kind in ("vit", "deit") else ("gelu", "swiglu"),
        prefix_positions=_PREFIX_POSITIONS.get(kind, (config.prefix_positions,)),
        number_of_register_tokens=(0,)
        if kind in ("vit", "dinov2") or both_heads_or_none
        else (config.number_of_register_tokens,),
        number_of_classes=(0,) if kind == "dinov3_vit" else (config.number_of_classes,),
        attention_projection_bias=(True,) if kind != "dinov3_vit" else (config.attention_projection_bias,),
    )
    if kind != "dinov3_vit":
        refuse("huggingface", config, query_bias=(config.value_bias,), key_bias=(config.value_bias,))
    huggingface_writing.check_hidden_dimension(config)


def _check_distillation_and_scales(config: ViTConfig, kind: Family) -> None:
    """DINOv2's models have no distillation token, and no head on the class token alone: ViT and DeiT do.

    Raises:
        CannotExpress: names the scales that keep a model from being one of these, or the token.
    """
    if kind in ("vit", "deit"):
        return
    belongs_elsewhere = config.distillation_token or (config.number_of_classes and config.pool == "class")
    if kind == "dinov2" and belongs_elsewhere:
        refuse(f"huggingface ({kind})", config, layer_scale=(None,))
    refuse(f"huggingface ({kind})", config, distillation_token=(False,))


def _name(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(f"{prefix}."):
            name = name.removeprefix(f"{prefix}.")
            break
    for pattern, file_name in _OF_RELEASE_5:
        if match := re.fullmatch(pattern, name):
            name = match.expand(file_name)
    return re.sub(r"(\.attention\.attention)\.(q|k|v)\.", lambda m: f"{m[1]}.{_LETTERS[m[2]]}.", name)


def _with_gates_joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, DINOv2's gates above what they gate."""
    gates = [match for name in tensors if (match := _GATE.fullmatch(name))]
    for gate in gates:
        place, kind = gate.groups()
        if (up := f"{place}.up_proj.{kind}") in tensors:
            joined_rows = torch.cat([tensors.pop(gate[0]), tensors.pop(up)])
            tensors[f"{place}.weights_in.{kind}"] = joined_rows
    return tensors


def _embeddings(config: ViTConfig, patch: str = "embeddings.patch_embeddings.projection") -> list[Rule]:
    table = [*patches(patch, config), rule("embeddings.cls_token", "prefix_tokens.class_token.tokens")]
    if config.distillation_token:
        table.append(rule("embeddings.distillation_token", "prefix_tokens.distillation_token.tokens"))
    if config.number_of_register_tokens:  # a distillation token that no head reads is one
        name = "distillation_token" if family(config) == "deit" else "register_tokens"
        table.append(rule(f"embeddings.{name}", "prefix_tokens.registers.tokens"))
    if config.positions == "learnable":
        table.append(rule("embeddings.position_embeddings", "positions.position_embeddings"))
    return table


def _layers_of_vit(config: ViTConfig) -> list[Rule]:
    layer = "encoder.layer.{layer}"
    return [
        *weight_and_bias(f"{layer}.layernorm_before", f"{_OURS}.attention_normalization"),
        *_attention(f"{layer}.attention.attention", ("query", "key", "value"), config),
        *weight_and_bias(f"{layer}.attention.output.dense", f"{_OURS}.attention.projection"),
        *weight_and_bias(f"{layer}.layernorm_after", f"{_OURS}.feed_forward_normalization"),
        *weight_and_bias(f"{layer}.intermediate.dense", f"{_OURS}.feed_forward.input_layer"),
        *weight_and_bias(f"{layer}.output.dense", f"{_OURS}.feed_forward.output_layer"),
    ]


def _layers_of_dinov2(config: ViTConfig) -> list[Rule]:
    layer = "encoder.layer.{layer}"
    gated = config.activation == "swiglu"
    first, second = ("weights_in", "weights_out") if gated else ("fc1", "fc2")
    our_first = "gate_up_layer" if gated else "input_layer"
    return [
        *_residual(layer),
        *_attention(f"{layer}.attention.attention", ("query", "key", "value"), config),
        *weight_and_bias(f"{layer}.attention.output.dense", f"{_OURS}.attention.projection"),
        *weight_and_bias(f"{layer}.mlp.{first}", f"{_OURS}.feed_forward.{our_first}"),
        *weight_and_bias(f"{layer}.mlp.{second}", f"{_OURS}.feed_forward.output_layer"),
    ]


def _layers_of_dinov3(config: ViTConfig) -> list[Rule]:
    layer, network = "layer.{layer}", f"{_OURS}.feed_forward"
    first: list[Rule]
    if config.activation == "swiglu":
        gate_and_up = (f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj")
        first = weight_and_bias(gate_and_up, f"{network}.gate_up_layer", joined(2))
    else:
        first = weight_and_bias(f"{layer}.mlp.up_proj", f"{network}.input_layer")
    return [
        *_residual(layer),
        *_attention(f"{layer}.attention", ("q_proj", "k_proj", "v_proj"), config),
        *weight_and_bias(
            f"{layer}.attention.o_proj",
            f"{_OURS}.attention.projection",
            bias=config.attention_projection_bias,
        ),
        *first,
        *weight_and_bias(f"{layer}.mlp.down_proj", f"{network}.output_layer"),
    ]


def _residual(layer: str) -> list[Rule]:
    """The norms and scales of DINOv2 and DINOv3."""
    return [
        *weight_and_bias(f"{layer}.norm1", f"{_OURS}.attention_normalization"),
        *weight_and_bias(f"{layer}.norm2", f"{_OURS}.feed_forward_normalization"),
        rule(f"{layer}.layer_scale1.lambda1", f"{_OURS}.attention_scale.scale"),
        rule(f"{layer}.layer_scale2.lambda1", f"{_OURS}.feed_forward_scale.scale"),
    ]


def _attention(place: str, names: tuple[str, str, str], config: ViTConfig) -> list[Rule]:
    """Queries, keys and values, which are three layers there; biases that are not there are in none."""
    ours = f"{_OURS}.attention.query_key_value"
    table = [rule(tuple(f"{place}.{name}.weight" for name in names), f"{ours}.weight", joined(3))]
    has_bias = (config.query_bias, config.key_bias, config.value_bias)
    biased = tuple(f"{place}.{name}.bias" for name, has in zip(names, has_bias, strict=True) if has)
    return [*table, *([rule(biased, f"{ours}.bias", joined(len(biased)))] if biased else [])]


def _head(config: ViTConfig) -> list[Rule]:
    if not config.number_of_classes:
        return []
    if not config.distillation_token:
        return weight_and_bias("classifier", "head.classifier")
    return [
        *weight_and_bias("cls_classifier", "head.classifier"),
        *weight_and_bias("distillation_classifier", "head.distillation_classifier"),
    ]


def _recognises(tensors: Mapping[str, Tensor]) -> bool:
    names = canonical(tensors)
    kernels: tuple[Literal["weight", "projection.weight"], ...] = ("weight", "projection.weight")
    return any(f"embeddings.patch_embeddings.{name}" in names for name in kernels)


HUGGINGFACE = Format(
    name="huggingface",
    architecture_key="model_type",
    given=("number_of_heads", "normalization_epsilon", "activation", "pool", "max_image_shape", "classes"),
    recognises=_recognises,
    canonical=canonical,
    describe=huggingface_reading.describe,
    rules=rules,
    aside=(r"embeddings\.mask_token", r"pooler\..*", r"decoder\..*"),
    check=check,
    write=huggingface_writing.write,
    picture_notes=huggingface_writing.picture_notes,
    reference=huggingface_writing.reference,
    pictures=huggingface_writing.pictures,
    loading=huggingface_writing.loading,
    silent=huggingface_reading.SILENT,
)
