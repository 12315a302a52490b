"""The folder of a transformers model: `config.json`, `preprocessor_config.json`, `model.safetensors`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vision_transformers.data.preprocessing import Interpolation, Preprocessing
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import write_json
from vision_transformers.model.config import Activation, ViTConfig
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.foreign_files import ForeignModel, require_config
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import SILENT as OF_MOST
from vision_transformers.weights.format import Given
from vision_transformers.weights.model_folder import ModelDescription, write_tensors
from vision_transformers.weights.report import Report

Family = Literal["vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit"]
PREFIXES = ("vit", "deit", "dinov2_with_registers", "dinov2", "model")
"""Of the encoder's names in a model that has a head."""
ACTIVATIONS: dict[Activation, str] = {
    "gelu": "gelu",
    "gelu-tanh": "gelu_pytorch_tanh",
    "quick-gelu": "quick_gelu",
}
SILENT = (*OF_MOST, "prefix_positions")
_HEADS = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassificationWithTeacher",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
}
_BODIES = {
    "vit": "ViTModel",
    "deit": "DeiTModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
}
_PROCESSORS = {"vit": "ViTImageProcessor", "deit": "DeiTImageProcessor"}
_RESAMPLE: dict[int, Interpolation] = dict(enumerate(("nearest", "lanczos", "bilinear", "bicubic")))
"""By Pillow's number."""


def family(config: ViTConfig) -> Family:
    """Which of transformers' models an architecture is."""
    if config.positions == "rotary":
        return "dinov3_vit"
    if config.layer_scale is not None:
        return "dinov2_with_registers" if config.number_of_register_tokens else "dinov2"
    return "deit" if config.distillation_token else "vit"


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
    return ModelDescription(model, _preprocessing(foreign.preprocessor, model, report), classes)


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes what `AutoModelForImageClassification.from_pretrained` reads, or `AutoModel` without a head."""
    model = description.model
    kind = family(model)
    if model.number_of_classes:
        prefix = f"{kind}."
        tensors = {
            name if "classifier." in name else f"{prefix}{name}": tensor for name, tensor in tensors.items()
        }
    write_tensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", _config(description, kind))
    write_json(folder / "preprocessor_config.json", _processor(description.preprocessing, kind))


def reference(path: Path, description: ModelDescription) -> Callable[[Tensor], Tensor]:
    """The model as transformers builds it from a folder.

    Raises:
        UsageFailure: transformers is not installed, or not told the architecture.
    """
    require_config(path)
    try:
        import transformers
    except ImportError as error:
        raise UsageFailure("--verify needs transformers: pip install transformers") from error
    if description.model.number_of_classes:
        heads = {"deit": "DeiTForImageClassificationWithTeacher"}
        name = heads.get(family(description.model), "AutoModelForImageClassification")
        model = getattr(transformers, name).from_pretrained(path).float().eval()
        return lambda images: torch.as_tensor(model(images).logits)
    body = transformers.AutoModel.from_pretrained(path).float().eval()
    config = description.model

    def features(images: Tensor) -> Tensor:
        tokens = torch.as_tensor(body(images).last_hidden_state)
        if config.distillation_token:
            return tokens[:, :2].mean(dim=1)
        patches = tokens[:, config.number_of_prefix_tokens :]
        class_mean = config.pool == "class-mean"
        return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=1) if class_mean else tokens[:, 0]

    return features


def check_hidden_dimension(config: ViTConfig) -> None:
    """DINOv2 stores a whole ratio, and not the width.

    Raises:
        UsageFailure: no ratio gives the hidden dimension.
    """
    if family(config).startswith("dinov2") and _of_ratio(config, _ratio(config)) != config.hidden_dimension:
        raise UsageFailure(
            f"huggingface ({family(config)}) cannot express hidden_dimension={config.hidden_dimension}: "
            f"the nearest is {_of_ratio(config, _ratio(config))}"
        )


def _architecture(tensors: Mapping[str, Tensor], config: ForeignConfig, kind: str, given: Given) -> ViTConfig:
    gated = config.flag("use_swiglu_ffn") or _is_gated(config)
    registers = length_of(tensors, "embeddings.register_tokens", 3, 1)
    classes = max(length_of(tensors, name, 2, 0) for name in ("classifier.weight", "cls_classifier.weight"))
    dinov3 = kind == "dinov3_vit"
    first = "layer.0.attention" if dinov3 else "encoder.layer.0.attention.attention"
    names = ("q_proj", "k_proj", "v_proj") if dinov3 else ("query", "key", "value")
    query, key, value = (f"{first}.{name}.bias" in tensors for name in names)
    dinov2 = kind.startswith("dinov2")
    return ViTConfig(
        patch_shape=config.pair("patch_size"),
        model_dimension=config.count("hidden_size"),
        number_of_layers=config.count("num_hidden_layers"),
        number_of_heads=given.number_of_heads or config.count("num_attention_heads"),
        hidden_dimension=_hidden(tensors, kind, gated),
        number_of_channels=config.count("num_channels", 3),
        number_of_classes=classes,
        max_image_shape=given.max_image_shape or config.pair("image_size"),
        distillation_token="embeddings.distillation_token" in tensors,
        number_of_register_tokens=registers,
        positions="rotary" if dinov3 else "learnable",
        prefix_positions="class" if dinov2 and registers else "all",
        position_resize="bicubic-antialias" if registers and dinov2 else "bicubic",
        rotary_base=config.number("rope_theta", 100.0),
        normalization_epsilon=given.normalization_epsilon or config.number("layer_norm_eps", 1e-12),
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


def _preprocessing(processor: ForeignConfig, model: ViTConfig, report: Report) -> Preprocessing:
    channels: Any = model.number_of_channels
    if not processor:
        report.notes.append("no preprocessor_config.json lies there: mean and std 0.5, squashed, bilinear")
        return Preprocessing(model.max_image_shape, channels)
    interpolation = processor.choice("resample", _RESAMPLE, 2)
    normalised = processor.flag("do_normalize", True)
    mean = processor.numbers("image_mean", (0.5,)) if normalised else (0.0,)
    std = processor.numbers("image_std", (0.5,)) if normalised else (1.0,)
    if not processor.flag("do_center_crop"):
        shape = _shape(processor, "size")
        return Preprocessing(shape, channels, "squash", interpolation=interpolation, mean=mean, std=std)
    shape = _shape(processor, "crop_size" if "crop_size" in processor else "size")
    if not (processor.holds_part("size") and "shortest_edge" in processor.part("size")):
        report.notes.append("pictures keep their aspect before the crop; transformers makes them square")
    fraction = min(shape) / min(_shape(processor, "size"))
    return Preprocessing(shape, channels, "center", fraction, "down", interpolation, mean, std)


def _shape(processor: ForeignConfig, name: str) -> tuple[int, int]:
    """Rows and columns: one number, an object with both, or with the shorter side."""
    if not processor.holds_part(name):
        return processor.pair(name)
    size = processor.part(name)
    if "height" in size:
        return size.count("height"), size.count("width")
    return size.pair("shortest_edge")


def _processor(preprocessing: Preprocessing, kind: Family) -> dict[str, Any]:
    rows, columns = preprocessing.size
    mean, std = (
        list(values) * (preprocessing.channels if len(values) == 1 else 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    crops = preprocessing.crop == "center"
    edge = round(min(rows, columns) / preprocessing.crop_fraction)
    return {
        "image_processor_type": "BitImageProcessor" if crops else _PROCESSORS.get(kind, "ViTImageProcessor"),
        "do_resize": True,
        "size": {"shortest_edge": edge} if crops else {"height": rows, "width": columns},
        "resample": list(_RESAMPLE.values()).index(preprocessing.interpolation),
        "do_center_crop": crops,
        "crop_size": {"height": rows, "width": columns},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def _config(description: ModelDescription, kind: Family) -> dict[str, Any]:
    model = description.model
    rows, columns = model.max_image_shape
    patch_rows, patch_columns = model.patch_shape
    content: dict[str, Any] = {
        "architectures": [_HEADS[kind] if model.number_of_classes else _BODIES[kind]],
        "model_type": kind,
        "hidden_size": model.model_dimension,
        "num_hidden_layers": model.number_of_layers,
        "num_attention_heads": model.number_of_heads,
        "intermediate_size": model.hidden_dimension,
        "hidden_act": ACTIVATIONS.get(model.activation, "silu" if kind == "dinov3_vit" else "gelu"),
        "layer_norm_eps": model.normalization_epsilon,
        "image_size": rows if rows == columns else [rows, columns],
        "patch_size": patch_rows if patch_rows == patch_columns else [patch_rows, patch_columns],
        "num_channels": model.number_of_channels,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if kind == "dinov3_vit":
        content |= {
            "query_bias": model.query_bias,
            "key_bias": model.key_bias,
            "value_bias": model.value_bias,
            "proj_bias": model.attention_projection_bias,
            "use_gated_mlp": model.activation == "swiglu",
            "num_register_tokens": model.number_of_register_tokens,
            "rope_theta": model.rotary_base,
            "layerscale_value": model.layer_scale,
        }
    else:
        content["qkv_bias"] = model.value_bias
    if kind.startswith("dinov2"):
        del content["intermediate_size"]
        content |= {
            "mlp_ratio": _ratio(model),
            "use_swiglu_ffn": model.activation == "swiglu",
            "layerscale_value": model.layer_scale,
        }
        if model.number_of_register_tokens:
            content["num_register_tokens"] = model.number_of_register_tokens
    if model.number_of_classes:
        # Without them transformers takes the model for one of two classes; so it calls those without names.
        names = description.classes or [f"LABEL_{place}" for place in range(model.number_of_classes)]
        content["id2label"] = {str(place): name for place, name in enumerate(names)}
        content["label2id"] = {name: place for place, name in enumerate(names)}
    return content


def _ratio(model: ViTConfig) -> int:
    """DINOv2's ratio, a whole number, of whose product with the width a gated network keeps two thirds."""
    ratio = model.hidden_dimension / model.model_dimension
    return max(1, round(ratio * 3 / 2 if model.activation == "swiglu" else ratio))


def _of_ratio(model: ViTConfig, ratio: int) -> int:
    hidden = model.model_dimension * ratio
    return (int(hidden * 2 / 3) + 7) // 8 * 8 if model.activation == "swiglu" else hidden
