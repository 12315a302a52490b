"""The folder that transformers loads: `config.json`, `preprocessor_config.json`, `model.safetensors`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.files import write_json
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.foreign_files import require_config
from vision_transformers.weights.formats.huggingface_reading import ACTIVATIONS, RESAMPLE, Family
from vision_transformers.weights.formats.picture_notes import crop_shift
from vision_transformers.weights.model_folder import ModelDescription, write_tensors

_HEADS = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassification",
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


def family(config: ViTConfig) -> Family:
    """Which of transformers' models an architecture is."""
    if config.positions == "rotary":
        return "dinov3_vit"
    if config.layer_scale is not None:
        return "dinov2_with_registers" if config.number_of_register_tokens else "dinov2"
    return "deit" if config.distillation_token or config.number_of_register_tokens == 1 else "vit"


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


def picture_notes(preprocessing: Preprocessing) -> tuple[str, ...]:
    """Where its image processor crops otherwise."""
    rows, columns = preprocessing.size
    if preprocessing.crop == "center" and rows != columns:
        edge = _shortest_edge(preprocessing)
        return (
            f"transformers brings the shorter side of every picture to {edge} pixels, and fills up with "
            f"black what {rows} x {columns} have more: prepare pictures with this library, or with timm",
        )
    return crop_shift("transformers", "down", preprocessing)


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
    transformers.utils.logging.disable_progress_bar()
    config = description.model
    theirs = getattr(transformers, _loader(config)).from_pretrained(path).float().eval()
    if config.number_of_classes:
        return lambda images: torch.as_tensor(theirs(images).logits)

    def features(images: Tensor) -> Tensor:
        tokens = torch.as_tensor(theirs(images).last_hidden_state)
        if config.distillation_token:
            return tokens[:, :2].mean(dim=1)
        patches = tokens[:, config.number_of_prefix_tokens :]
        class_mean = config.pool == "class-mean"
        return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=1) if class_mean else tokens[:, 0]

    return features


def pictures(path: Path) -> Callable[[Image.Image], Tensor]:
    """transformers' image processor, as `preprocessor_config.json` has it."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(path)
    return lambda picture: torch.as_tensor(processor(picture, return_tensors="pt")["pixel_values"])


def loading(folder: Path, description: ModelDescription) -> tuple[str, ...]:
    """Lines of Python that load what was written, and its preprocessing."""
    name = _loader(description.model)
    return (
        f"from transformers import AutoImageProcessor, {name}",
        f"model = {name}.from_pretrained({str(folder)!r})",
        f"processor = AutoImageProcessor.from_pretrained({str(folder)!r})",
    )


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


def _loader(config: ViTConfig) -> str:
    """The class that loads the model; of those with two heads, the automatic one takes one head alone."""
    if not config.number_of_classes:
        return "AutoModel"
    return _classifier(config) if config.distillation_token else "AutoModelForImageClassification"


def _classifier(config: ViTConfig) -> str:
    """The class of the model with a head."""
    return f"{_HEADS[family(config)]}{'WithTeacher' if config.distillation_token else ''}"


def _processor(preprocessing: Preprocessing, kind: Family) -> dict[str, Any]:
    rows, columns = preprocessing.size
    mean, std = (
        list(values) * (preprocessing.channels if len(values) == 1 else 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    crops = preprocessing.crop == "center"
    size = {"shortest_edge": _shortest_edge(preprocessing)} if crops else {"height": rows, "width": columns}
    return {
        "image_processor_type": "BitImageProcessor" if crops else _PROCESSORS.get(kind, "ViTImageProcessor"),
        "do_resize": True,
        "size": size,
        "resample": list(RESAMPLE.values()).index(preprocessing.interpolation),
        "do_center_crop": crops,
        "crop_size": {"height": rows, "width": columns},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def _shortest_edge(preprocessing: Preprocessing) -> int:
    return round(min(preprocessing.size) / preprocessing.crop_fraction)


def _config(description: ModelDescription, kind: Family) -> dict[str, Any]:
    model = description.model
    rows, columns = model.max_image_shape
    patch_rows, patch_columns = model.patch_shape
    content: dict[str, Any] = {
        "architectures": [_classifier(model) if model.number_of_classes else _BODIES[kind]],
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
