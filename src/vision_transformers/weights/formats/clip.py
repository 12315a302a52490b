"""The image tower of OpenAI's CLIP and of open_clip. Its projection and the text tower are kept aside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing, averaged_if_grey, channels_of
from vision_transformers.errors import Failure
from vision_transformers.files import write_json
from vision_transformers.model.config import Activation, ViTConfig
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.foreign_shapes import shape_of
from vision_transformers.weights.format import Format, Given, NotTold
from vision_transformers.weights.formats import weights_alone
from vision_transformers.weights.formats.parts import INTERPOLATIONS, patches, refuse, stripped
from vision_transformers.weights.model_folder import ModelDescription, write_tensors
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule, rule, weight_and_bias
from vision_transformers.weights.sidecar import description_beside
from vision_transformers.weights.transformations import reshaped

_LAYER, _OURS = "transformer.resblocks.{layer}", "transformer.layers.{layer}"
_FIRST_HIDDEN = "transformer.resblocks.0.mlp.c_fc.weight"
_ELSEWHERE = "beside the image tower: "
"""Marks tensors of the text tower, some of which have the names of the image tower's."""
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HEAD_WIDTH = 64
_HEADS = {384: 6, 512: 8, 768: 12, 896: 14, 1024: 16, 1280: 16, 1408: 16, 1664: 16, 1792: 16}
"""By the width of OpenAI's and open_clip's towers.
https://github.com/mlfoundations/open_clip, src/open_clip/model_configs, 2026-06-27."""
_CROPS: dict[str, Literal["squash", "center"]] = {"shortest": "center", "squash": "squash"}
"""`resize_mode`, by open_clip's word."""


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's tensors without their prefix; all others with a mark."""
    plain = stripped(tensors)
    if not any(name.startswith("visual.") for name in plain):
        return plain
    return {
        name.removeprefix("visual.") if name.startswith("visual.") else f"{_ELSEWHERE}{name}": tensor
        for name, tensor in plain.items()
    }


def rules(config: ViTConfig) -> list[Rule]:
    """The table for an architecture."""
    width, rows = config.model_dimension, config.grid[0] * config.grid[1] + 1
    attention, ours = f"{_LAYER}.attn", f"{_OURS}.attention"
    table = [
        *patches("conv1", config),
        rule("class_embedding", "prefix_tokens.class_token.tokens", reshaped((width,), (1, 1, width))),
        rule(
            "positional_embedding",
            "positions.position_embeddings",
            reshaped((rows, width), (1, rows, width)),
        ),
        *weight_and_bias("ln_pre", "normalization"),
        *weight_and_bias(f"{_LAYER}.ln_1", f"{_OURS}.attention_normalization"),
        rule(f"{attention}.in_proj_weight", f"{ours}.query_key_value.weight"),
        rule(f"{attention}.in_proj_bias", f"{ours}.query_key_value.bias"),
        *weight_and_bias(f"{attention}.out_proj", f"{ours}.projection"),
        *weight_and_bias(f"{_LAYER}.ln_2", f"{_OURS}.feed_forward_normalization"),
        *weight_and_bias(f"{_LAYER}.mlp.c_fc", f"{_OURS}.feed_forward.input_layer"),
        *weight_and_bias(f"{_LAYER}.mlp.c_proj", f"{_OURS}.feed_forward.output_layer"),
        *weight_and_bias("ln_post", "transformer.normalization"),
    ]
    if config.layer_scale is not None:
        table.append(rule(f"{_LAYER}.ls_1.gamma", f"{_OURS}.attention_scale.scale"))
        table.append(rule(f"{_LAYER}.ls_2.gamma", f"{_OURS}.feed_forward_scale.scale"))
    return table


def check(config: ViTConfig) -> None:
    """Raises UsageFailure, with the option's name, if CLIP's tower cannot express the architecture."""
    refuse(
        "clip",
        config,
        number_of_classes=(0,),
        patch_bias=(False,),
        patch_normalization=(False,),
        class_token=(True,),
        distillation_token=(False,),
        number_of_register_tokens=(0,),
        positions=("learnable",),
        prefix_positions=("all", "class"),
        normalization_epsilon=(1e-5,),
        normalization_before_blocks=(True,),
        activation=("gelu", "quick-gelu"),
        query_bias=(True,),
        key_bias=(True,),
        value_bias=(True,),
        attention_dimension=(None, config.model_dimension),
        attention_projection=(True,),
        attention_projection_bias=(True,),
        query_key_normalization=(False,),
        pool=("class",),
        final_normalization=("before-pool",),
        pre_logits_dimension=(None,),
    )


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """From `open_clip_config.json` where there is one, from shapes, and from what is given.

    Raises:
        NotTold: nothing tells which GELU it is (OpenAI's weights have the quick one, most others not), or the
            number of heads.
        Failure: the config has an option that changes what the tower computes, which is not read.
    """
    settings, images = foreign.config.part("model_cfg"), foreign.config.part("preprocess_cfg")
    vision = settings.part("vision_cfg")
    _check_options(vision, foreign.path)
    activation = _activation(settings, given)
    tensors = foreign.tensors
    width, number_of_channels, rows, columns = shape_of(tensors, "conv1.weight", 4)
    patch = (rows, columns)
    model = ViTConfig(
        patch_shape=patch,
        model_dimension=width,
        number_of_layers=weights_alone.layers(tensors, "transformer.resblocks."),
        number_of_heads=_heads(width, vision, given, report),
        hidden_dimension=shape_of(tensors, _FIRST_HIDDEN, 2)[0],
        number_of_channels=number_of_channels,
        number_of_classes=0,
        max_image_shape=_image_shape(tensors, patch, vision, given),
        patch_bias=False,
        normalization_epsilon=1e-5,
        normalization_before_blocks=True,
        activation=activation,
        layer_scale=1e-5 if "transformer.resblocks.0.ls_1.gamma" in tensors else None,
    )
    channels = channels_of(number_of_channels)
    preprocessing = Preprocessing(
        size=model.max_image_shape,
        channels=channels,
        crop=images.choice("resize_mode", _CROPS, "shortest"),
        crop_fraction=_crop_fraction(foreign),
        interpolation=images.choice("interpolation", INTERPOLATIONS, "bicubic"),
        mean=averaged_if_grey(images.numbers("mean", _MEAN), channels),
        std=averaged_if_grey(images.numbers("std", _STD), channels),
    )
    return ModelDescription(model, preprocessing, ())


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `open_clip_model.safetensors`, the tower under `visual.`, and `open_clip_config.json`."""
    model, preprocessing = description.model, description.preprocessing
    named = {
        name.removeprefix(_ELSEWHERE) if name.startswith(_ELSEWHERE) else f"visual.{name}": tensor
        for name, tensor in tensors.items()
    }
    write_tensors(folder / "open_clip_model.safetensors", named)
    vision = {
        "image_size": list(model.max_image_shape),
        "patch_size": list(model.patch_shape),
        "width": model.model_dimension,
        "layers": model.number_of_layers,
        "head_width": model.head_dimension,
        "mlp_ratio": model.hidden_dimension / model.model_dimension,
    }
    if model.layer_scale is not None:
        vision["ls_init_value"] = model.layer_scale
    content = {
        "model_cfg": {"vision_cfg": vision, "quick_gelu": model.activation == "quick-gelu"},
        "preprocess_cfg": {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "interpolation": preprocessing.interpolation,
            "resize_mode": "squash" if preprocessing.crop == "squash" else "shortest",
        },
    }
    write_json(folder / "open_clip_config.json", content)


def _check_options(vision: ForeignConfig, path: Path) -> None:
    """Refuses what changes no tensor's name, and what is computed from it.

    `final_ln_after_pool` is no such option: it changes nothing where the pool takes the class token.

    Raises:
        Failure: names the options.
    """
    differs = {
        "pool_type": vision.text("pool_type", "tok") != "tok",
        "norm_kwargs": bool(vision.part("norm_kwargs")),
        "act_kwargs": bool(vision.part("act_kwargs")),
    }
    if others := [name for name, is_other in differs.items() if is_other]:
        raise Failure(
            f"the vision_cfg of {path} sets {' and '.join(others)}: towers of CLIP are read with open_clip's "
            "default of that alone"
        )


def _heads(width: int, vision: ForeignConfig, given: Given, report: Report) -> int:
    """Attention heads: given, as wide as the config says, or those of a published tower of that width."""
    if given.number_of_heads is None and vision:
        return max(1, width // vision.count("head_width", _HEAD_WIDTH))
    return weights_alone.heads(width, _HEADS, given, report)


def _crop_fraction(foreign: ForeignModel) -> float:
    """open_clip cuts nothing off the shorter side; where we wrote the files, ours beside them tells."""
    if foreign.sidecar is None:
        return 1.0
    return description_beside(foreign.sidecar, foreign.path).preprocessing.crop_fraction


def _activation(settings: ForeignConfig, given: Given) -> Activation:
    if given.activation is not None:
        return given.activation
    if not settings:
        raise NotTold(
            "the weights do not tell which GELU they were trained with",
            "--activation quick-gelu for OpenAI's, --activation gelu for most of open_clip's",
        )
    return "quick-gelu" if settings.flag("quick_gelu") else "gelu"


def _image_shape(
    tensors: Mapping[str, Tensor], patch: tuple[int, int], vision: ForeignConfig, given: Given
) -> tuple[int, int]:
    if given.max_image_shape is None and "image_size" in vision:
        return vision.pair("image_size")
    return weights_alone.image_shape(shape_of(tensors, "positional_embedding", 2)[0] - 1, patch, given)


CLIP = Format(
    name="clip",
    prefix="open_clip",
    given=("preset", "number_of_heads", "activation", "max_image_shape"),
    recognises=lambda tensors: {"conv1.weight", _FIRST_HIDDEN} <= canonical(tensors).keys(),
    canonical=canonical,
    describe=describe,
    rules=rules,
    aside=("proj", f"{_ELSEWHERE}.*"),
    check=check,
    write=write,
)
