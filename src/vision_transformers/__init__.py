"""Vision Transformers in PyTorch: a library that reads like the paper (arXiv 2010.11929).

Names are imported when they are first used, so that `import vision_transformers` is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_transformers.classifier import Classifier, load
    from vision_transformers.data.preprocessing import Preprocessing
    from vision_transformers.data.source import DataSource
    from vision_transformers.export.export_onnx import export_int8_onnx, export_onnx
    from vision_transformers.model.config import ViTConfig
    from vision_transformers.model.encoder import Encoder
    from vision_transformers.model.head import ClassificationHead
    from vision_transformers.model.patches import (
        ConvolutionalFeatureExtractor,
        LinearFeatureExtractor,
        number_of_patches,
    )
    from vision_transformers.model.positions import LearnablePositionalEncoding
    from vision_transformers.model.presets import preset
    from vision_transformers.model.stem import ConvolutionalStem
    from vision_transformers.model.tokens import CLSToken
    from vision_transformers.model.transformer import Transformer
    from vision_transformers.model.vit import ViT
    from vision_transformers.recipes.table import find_recipe
    from vision_transformers.training.train import resume, train
    from vision_transformers.weights.model_folder import ModelDescription

__version__ = "0.1.0"

_MODULES = {
    "CLSToken": "model.tokens",
    "ClassificationHead": "model.head",
    "Classifier": "classifier",
    "ConvolutionalFeatureExtractor": "model.patches",
    "ConvolutionalStem": "model.stem",
    "DataSource": "data.source",
    "Encoder": "model.encoder",
    "LearnablePositionalEncoding": "model.positions",
    "LinearFeatureExtractor": "model.patches",
    "ModelDescription": "weights.model_folder",
    "Preprocessing": "data.preprocessing",
    "Transformer": "model.transformer",
    "ViT": "model.vit",
    "ViTConfig": "model.config",
    "export_int8_onnx": "export.export_onnx",
    "export_onnx": "export.export_onnx",
    "find_recipe": "recipes.table",
    "load": "classifier",
    "number_of_patches": "model.patches",
    "preset": "model.presets",
    "resume": "training.train",
    "train": "training.train",
}

__all__ = [
    "CLSToken",
    "ClassificationHead",
    "Classifier",
    "ConvolutionalFeatureExtractor",
    "ConvolutionalStem",
    "DataSource",
    "Encoder",
    "LearnablePositionalEncoding",
    "LinearFeatureExtractor",
    "ModelDescription",
    "Preprocessing",
    "Transformer",
    "ViT",
    "ViTConfig",
    "__version__",
    "export_int8_onnx",
    "export_onnx",
    "find_recipe",
    "load",
    "number_of_patches",
    "preset",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
