"""timm's `VisionTransformer`, of which DeiT's and DINOv2's names are the same; and `Eva` for DINOv3."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.foreign_files import open_foreign
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.formats import timm_eva, timm_reading, timm_writing
from vision_transformers.weights.formats.parts import patches, refuse, stripped
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.rules import Rule, names_of, rule, weight_and_bias

_LAYER, _OURS = "blocks.{layer}", "transformer.layers.{layer}"
_ATTENTION_POOL = {
    "q": "query",
    "kv": "key_value",
    "proj": "projection",
    "norm": "normalization",
    "mlp.fc1": "feed_forward.input_layer",
    "mlp.fc2": "feed_forward.output_layer",
}


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    if config.positions == "rotary":
        return timm_eva.rules(config)
    return [*patches("patch_embed.proj", config), *_tokens(config), *_encoders(config), *_head(config)]


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if timm cannot express the architecture."""
    if config.positions == "rotary":
        timm_eva.check(config)
        return
    refuse(
        "timm",
        config,
        positions=("learnable", "none"),
        patch_normalization=(False,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        pre_logits_dimension=(None,),
        pool=("class", "mean", "mean-all", "attention"),
        # DINOv2's giant and DeiT, upon which these are built, have this one.
        normalization_epsilon=(1e-6,)
        if config.distillation_token or config.activation == "swiglu"
        else tuple(timm_writing.ARCHITECTURES),
        query_bias=(config.value_bias,),
        key_bias=(config.value_bias,),
        prefix_positions=("all", "none"),
        # Without it, timm's networks have no biases either.
        attention_projection_bias=(True,),
    )
    if config.distillation_token:
        refuse(
            "timm, with a distillation token,",
            config,
            number_of_register_tokens=(0,),
            prefix_positions=("all",),
            final_normalization=("before-pool",),
        )
    if config.pool == "attention":
        refuse("timm, with an attention pool,", config, activation=("gelu", "gelu-tanh", "quick-gelu"))
    if not config.patch_bias and not config.normalization_before_blocks:
        refuse("timm", config, patch_bias=(True,))
    if config.patch_bias and config.normalization_before_blocks:
        refuse("timm", config, normalization_before_blocks=(False,))


def _tokens(config: ViTConfig) -> list[Rule]:
    table = []
    if config.class_token:
        table.append(rule("cls_token", "prefix_tokens.class_token.tokens"))
    if config.distillation_token:
        table.append(rule("dist_token", "prefix_tokens.distillation_token.tokens"))
    if config.number_of_register_tokens:
        table.append(rule("reg_token", "prefix_tokens.registers.tokens"))
    if config.positions == "learnable":
        table.append(rule("pos_embed", "positions.position_embeddings"))
    if config.normalization_before_blocks:
        table += weight_and_bias("norm_pre", "normalization")
    return table


def _encoders(config: ViTConfig) -> list[Rule]:
    first_layer = "gate_up_layer" if config.activation == "swiglu" else "input_layer"
    table = [
        *weight_and_bias(f"{_LAYER}.norm1", f"{_OURS}.attention_normalization"),
        *weight_and_bias(f"{_LAYER}.attn.qkv", f"{_OURS}.attention.query_key_value", bias=config.query_bias),
        *weight_and_bias(
            f"{_LAYER}.attn.proj", f"{_OURS}.attention.projection", bias=config.attention_projection_bias
        ),
        *weight_and_bias(f"{_LAYER}.norm2", f"{_OURS}.feed_forward_normalization"),
        *weight_and_bias(f"{_LAYER}.mlp.fc1", f"{_OURS}.feed_forward.{first_layer}"),
        *weight_and_bias(f"{_LAYER}.mlp.fc2", f"{_OURS}.feed_forward.output_layer"),
    ]
    if config.query_key_normalization:
        table += weight_and_bias(f"{_LAYER}.attn.q_norm", f"{_OURS}.attention.query_normalization")
        table += weight_and_bias(f"{_LAYER}.attn.k_norm", f"{_OURS}.attention.key_normalization")
    if config.layer_scale is not None:
        table.append(rule(f"{_LAYER}.ls1.gamma", f"{_OURS}.attention_scale.scale"))
        table.append(rule(f"{_LAYER}.ls2.gamma", f"{_OURS}.feed_forward_scale.scale"))
    return table


def _head(config: ViTConfig) -> list[Rule]:
    after_pool = config.final_normalization == "after-pool"
    table = weight_and_bias(
        *(("fc_norm", "head.normalization") if after_pool else ("norm", "transformer.normalization"))
    )
    if config.pool == "attention":
        table.append(rule("attn_pool.latent", "head.pool.probe"))
        for theirs, ours in _ATTENTION_POOL.items():
            table += weight_and_bias(f"attn_pool.{theirs}", f"head.pool.{ours}")
    if config.number_of_classes:
        table += weight_and_bias("head", "head.classifier")
        if config.distillation_token:
            table += weight_and_bias("head_dist", "head.distillation_classifier")
    return table


def _reference(path: Path, description: ModelDescription) -> Callable[[Tensor], Tensor]:
    """The model as timm builds it from a folder; of a file without a config, from what was read of it.

    Raises:
        UsageFailure: timm is not installed, or cannot express what was read.
    """
    if (path / "config.json").is_file():
        return timm_writing.reference(path)
    config = description.model
    check(config)
    tensors = stripped(open_foreign(path).tensors)
    used = {name: tensors[name] for name in names_of(rules(config), config.number_of_layers)}
    with TemporaryDirectory() as folder:
        timm_writing.write(Path(folder), used, description)
        return timm_writing.reference(Path(folder))


TIMM = Format(
    name="timm",
    architecture_key="architecture",
    given=tuple(field.name for field in fields(Given)),
    recognises=lambda tensors: "blocks.0.norm1.weight" in stripped(tensors),
    canonical=stripped,
    describe=timm_reading.describe,
    rules=rules,
    aside=("mask_token", r"decoder.*"),
    check=check,
    write=timm_writing.write,
    picture_notes=timm_writing.picture_notes,
    reference=_reference,
    pictures=timm_writing.pictures,
    loading=timm_writing.loading,
)
