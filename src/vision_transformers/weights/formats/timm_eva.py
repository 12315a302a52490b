"""timm's `Eva` class as far as DINOv3 uses it: rotary positions, and scales and biases of other names."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vision_transformers.model.config import Pool, ViTConfig
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.formats.parts import patches, refuse
from vision_transformers.weights.rules import Rule, rule, weight_and_bias
from vision_transformers.weights.transformations import joined

GIVEN = ("number_of_heads", "pool", "max_image_shape", "classes")
"""Fields of `Given` that files of the class may leave open."""
POOLS: dict[str, Pool] = {"token": "class", "avg": "mean"}
"""`global_pool`, by timm's word."""
_LAYER, _OURS = "blocks.{layer}", "transformer.layers.{layer}"


def is_eva(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of that class; DeiT III has scales of that name, and learned positions."""
    return "blocks.0.gamma_1" in tensors and "pos_embed" not in tensors


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    table = [*patches("patch_embed.proj", config), rule("cls_token", "prefix_tokens.class_token.tokens")]
    if config.number_of_register_tokens:
        table.append(rule("reg_token", "prefix_tokens.registers.tokens"))
    attention, ours = f"{_LAYER}.attn", f"{_OURS}.attention"
    table += [
        *weight_and_bias(f"{_LAYER}.norm1", f"{_OURS}.attention_normalization"),
        rule(f"{attention}.qkv.weight", f"{ours}.query_key_value.weight"),
        *weight_and_bias(f"{attention}.proj", f"{ours}.projection"),
        rule(f"{_LAYER}.gamma_1", f"{_OURS}.attention_scale.scale"),
        *weight_and_bias(f"{_LAYER}.norm2", f"{_OURS}.feed_forward_normalization"),
        *_first_layer(config),
        *weight_and_bias(f"{_LAYER}.mlp.fc2", f"{_OURS}.feed_forward.output_layer"),
        rule(f"{_LAYER}.gamma_2", f"{_OURS}.feed_forward_scale.scale"),
        *weight_and_bias("norm", "transformer.normalization"),
    ]
    if config.query_bias:
        biases = (f"{attention}.q_bias", f"{attention}.v_bias")
        table.append(rule(biases, f"{ours}.query_key_value.bias", joined(2)))
    return [*table, *(weight_and_bias("head", "head.classifier") if config.number_of_classes else [])]


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if the class cannot express the architecture."""
    refuse(
        "timm (Eva)",
        config,
        patch_bias=(True,),
        patch_normalization=(False,),
        class_token=(True,),
        distillation_token=(False,),
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
        pool=tuple(POOLS.values()),
        final_normalization=("before-pool",),
        pre_logits_dimension=(None,),
    )


def architecture_name(config: ViTConfig) -> str:
    """What is built upon; arguments say the rest."""
    if config.query_bias:
        return "vit_small_patch16_dinov3_qkvb"
    return "vit_small_patch16_dinov3"


def arguments(config: ViTConfig, ratio: float) -> dict[str, Any]:
    """The constructor's arguments by which the architecture differs from the named one, or may."""
    return {
        "img_size": list(config.max_image_shape),
        "patch_size": list(config.patch_shape),
        "in_chans": config.number_of_channels,
        "embed_dim": config.model_dimension,
        "depth": config.number_of_layers,
        "num_heads": config.number_of_heads,
        "mlp_ratio": ratio,
        "swiglu_mlp": config.activation == "swiglu",
        # 0 would pack gate and up into one layer, which DINOv3 does not.
        "swiglu_align_to": 1,
        "num_reg_tokens": config.number_of_register_tokens,
        "init_values": config.layer_scale,
        "rope_temperature": config.rotary_base,
    }


def architecture(
    tensors: Mapping[str, Tensor], heads: int, image_shape: tuple[int, int], base: float, pool: Pool
) -> ViTConfig:
    """From shapes, and what only the config tells."""
    width, channels, rows, columns = shape_of(tensors, "patch_embed.proj.weight", 4)
    gated, biased = "blocks.0.mlp.fc1_g.weight" in tensors, "blocks.0.attn.q_bias" in tensors
    return ViTConfig(
        patch_shape=(rows, columns),
        model_dimension=width,
        number_of_layers=len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
        number_of_heads=heads,
        hidden_dimension=shape_of(tensors, "blocks.0.mlp.fc2.weight", 2)[1],
        number_of_channels=channels,
        number_of_classes=length_of(tensors, "head.weight", 2, 0),
        max_image_shape=image_shape,
        number_of_register_tokens=length_of(tensors, "reg_token", 3, 1),
        positions="rotary",
        rotary_base=base,
        normalization_epsilon=1e-5,
        activation="swiglu" if gated else "gelu",
        query_bias=biased,
        key_bias=False,
        value_bias=biased,
        layer_scale=1e-5,
        pool=pool,
    )


def _first_layer(config: ViTConfig) -> list[Rule]:
    network = f"{_OURS}.feed_forward"
    if config.activation == "swiglu":
        gate_and_up = (f"{_LAYER}.mlp.fc1_g", f"{_LAYER}.mlp.fc1_x")
        return weight_and_bias(gate_and_up, f"{network}.gate_up_layer", joined(2))
    return weight_and_bias(f"{_LAYER}.mlp.fc1", f"{network}.input_layer")
