"""What the files beside transformers' weights say: `config.json` and `preprocessor_config.json`."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from vision_transformers.data.preprocessing import (
    Interpolation,
    Preprocessing,
    averaged_if_grey,
    channels_of,
)
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.model.config import Activation, ViTConfig
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import SILENT as OF_MOST
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.weights_alone import IMAGENET_MEAN, IMAGENET_STD
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report

Family = Literal["vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit"]
"""Of transformers' models, by `model_type`."""
ACTIVATIONS: dict[Activation, str] = {
    "gelu": "gelu",
    "gelu-tanh": "gelu_pytorch_tanh",
    "quick-gelu": "quick_gelu",
}
RESAMPLE: dict[int, Interpolation] = dict(enumerate(("nearest", "lanczos", "bilinear", "bicubic")))
"""By Pillow's number."""
_OF_IMAGENET = ("vit_mae", "dinov2", "dinov2_with_registers", "dinov3_vit")
"""Families whose published processors have ImageNet's mean and std."""
_EPSILON = {"dinov2": 1e-6, "dinov2_with_registers": 1e-6, "dinov3_vit": 1e-5}
"""Of LayerNorms, by family, where the config does not say; of all others 1e-12."""
SILENT = (*OF_MOST, "prefix_positions")


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """Architecture, preprocessing and class names, from `config.json` and the tensors' names and shapes.

    Raises:
        UsageFailure: there is no `config.json`, or it is of another model.
    """
    config = foreign.config
    if not config:
        raise UsageFailure(
            f"{foreign.path} has no config.json beside its weights, which transformers always writes: "
            "copy it there, or say another --from"
        )
    kind = config.text("model_type")
    if kind not in (*get_args(Family), "vit_mae"):
        known = ", ".join((*get_args(Family), "vit_mae"))
        raise UsageFailure(f"the config is of a model {kind!r}: known here are {known}")
    model = _architecture(foreign.tensors, config, kind, given)
    classes = given.classes or config.names("id2label")
    if not model.number_of_classes:
        classes = ()
    return ModelDescription(model, _preprocessing(foreign.preprocessor, kind, model, report), classes)


def _architecture(tensors: Mapping[str, Tensor], config: ForeignConfig, kind: str, given: Given) -> ViTConfig:
    gated = config.flag("use_swiglu_ffn") or _is_gated(config)
    registers = length_of(tensors, "embeddings.register_tokens", 3, 1)
    classes = max(length_of(tensors, name, 2, 0) for name in ("classifier.weight", "cls_classifier.weight"))
    dinov3 = kind == "dinov3_vit"
    first = "layer.0.attention" if dinov3 else "encoder.layer.0.attention.attention"
    names = ("q_proj", "k_proj", "v_proj") if dinov3 else ("query", "key", "value")
    query, key, value = (f"{first}.{name}.bias" in tensors for name in names)
    dinov2 = kind.startswith("dinov2")
    distillation_token = "embeddings.distillation_token" in tensors
    if distillation_token and "classifier.weight" in tensors:
        # The head of DeiTForImageClassification does not read it: to that it is a register.
        distillation_token, registers = False, 1
    return ViTConfig(
        patch_shape=config.pair("patch_size"),
        model_dimension=config.count("hidden_size"),
        number_of_layers=config.count("num_hidden_layers"),
        number_of_heads=given.number_of_heads or config.count("num_attention_heads"),
        hidden_dimension=_hidden(tensors, kind, gated),
        number_of_channels=config.count("num_channels", 3),
        number_of_classes=classes,
        max_image_shape=given.max_image_shape or config.pair("image_size"),
        distillation_token=distillation_token,
        number_of_register_tokens=registers,
        positions="rotary" if dinov3 else "learnable",
        prefix_positions="class" if dinov2 and registers else "all",
        position_resize="bicubic-antialias" if registers and dinov2 else "bicubic",
        rotary_base=config.number("rope_theta", 100.0),
        normalization_epsilon=given.normalization_epsilon
        or config.number("layer_norm_eps", _EPSILON.get(kind, 1e-12)),
        activation="swiglu" if gated else _activation(config, given),
        query_bias=query,
        key_bias=key,
        value_bias=value,
        attention_projection_bias=not dinov3 or f"{first}.o_proj.bias" in tensors,
        layer_scale=config.number("layerscale_value", 1.0) if dinov2 or dinov3 else None,
        pool=given.pool or ("class-mean" if dinov2 and classes else "class"),
    )


def _hidden(tensors: Mapping[str, Tensor], kind: str, gated: bool) -> int:
    """The width inside the feed-forward networks, from the second layer's weight."""
    place = {
        "dinov3_vit": "layer.0.mlp.down_proj",
        "vit": "encoder.layer.0.output.dense",
        "deit": "encoder.layer.0.output.dense",
        "vit_mae": "encoder.layer.0.output.dense",
    }.get(kind, f"encoder.layer.0.mlp.{'weights_out' if gated else 'fc2'}")
    return shape_of(tensors, f"{place}.weight", 2)[1]


def _activation(config: ForeignConfig, given: Given) -> Activation:
    if given.activation is not None:
        return given.activation
    named: dict[str, Activation] = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
    return config.choice("hidden_act", named | {"gelu_new": "gelu-tanh"}, "gelu")


def _is_gated(config: ForeignConfig) -> bool:
    """Whether DINOv3's networks have a gate, which goes through `hidden_act`; DINOv2's is always SiLU.

    Raises:
        Failure: it goes through another function than SiLU.
    """
    if not config.flag("use_gated_mlp"):
        return False
    function = config.text("hidden_act", "gelu")
    if function not in ("silu", "swish"):
        raise Failure(
            f"the config says use_gated_mlp with hidden_act {function!r}: a gate is read only with 'silu', "
            "which is SwiGLU"
        )
    return True


def _preprocessing(processor: ForeignConfig, kind: str, model: ViTConfig, report: Report) -> Preprocessing:
    channels = channels_of(model.number_of_channels)
    if not processor:
        return _without_processor(kind, model, report)
    _check_processor(processor)
    interpolation = processor.choice("resample", RESAMPLE, 2)
    normalised = processor.flag("do_normalize", True)
    mean = averaged_if_grey(processor.numbers("image_mean", (0.5,)), channels) if normalised else (0.0,)
    std = averaged_if_grey(processor.numbers("image_std", (0.5,)), channels) if normalised else (1.0,)
    if not processor.flag("do_center_crop"):
        shape = _shape(processor, "size")
        return Preprocessing(shape, channels, "squash", interpolation=interpolation, mean=mean, std=std)
    shape = _shape(processor, "crop_size" if "crop_size" in processor else "size")
    if not (processor.holds_part("size") and "shortest_edge" in processor.part("size")):
        report.notes.append("pictures keep their aspect before the crop; transformers makes them square")
    fraction = min(shape) / min(_shape(processor, "size"))
    return Preprocessing(shape, channels, "center", fraction, "down", interpolation, mean, std)


def _check_processor(processor: ForeignConfig) -> None:
    """Refuses what no preprocessing here does.

    Raises:
        Failure: pictures are not resized, or their pixels do not go from 0 to 1 before mean and std.
    """
    if not processor.flag("do_resize", True):
        raise Failure(
            "preprocessor_config.json says do_resize: false, and here all pictures are brought to one size: "
            "set it to true, and size to what the model learned from"
        )
    factor = processor.number("rescale_factor", 1 / 255) if processor.flag("do_rescale", True) else 1.0
    if not math.isclose(factor, 1 / 255, rel_tol=1e-4):
        raise Failure(
            f"preprocessor_config.json has pixels times {factor:g}, and here they are divided by 255: "
            f"set do_rescale to true, rescale_factor to {1 / 255}, and divide image_mean and image_std by "
            f"{255 * factor:g}"
        )


def _without_processor(kind: str, model: ViTConfig, report: Report) -> Preprocessing:
    """Squashed, with the mean and std that the family's published processors have."""
    channels, where = channels_of(model.number_of_channels), "no preprocessor_config.json lies there"
    if kind not in _OF_IMAGENET:
        report.notes.append(f"{where}: mean and std 0.5, squashed, bilinear")
        return Preprocessing(model.max_image_shape, channels)
    report.notes.append(f"{where}: ImageNet's mean and std, squashed, bilinear")
    mean, std = (averaged_if_grey(values, channels) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return Preprocessing(model.max_image_shape, channels, mean=mean, std=std)


def _shape(processor: ForeignConfig, name: str) -> tuple[int, int]:
    """Rows and columns: one number, an object with both, or with the shorter side."""
    if not processor.holds_part(name):
        return processor.pair(name)
    size = processor.part(name)
    if "height" in size:
        return size.count("height"), size.count("width")
    return size.pair("shortest_edge")
