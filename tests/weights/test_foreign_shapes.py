"""Shapes of somebody's tensors are read, or one message says which is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.weights.portable import CLIP_OPTIONS, VIT_PYTORCH_OPTIONS, portable
from torch import Tensor

from vision_transformers.classifier import load
from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import SIDECAR, export_model, import_model
from vision_transformers.weights.foreign_files import open_foreign
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "timm": ("timm", {}),
    "timm, attention pool": ("timm", {"pool": "attention", "class_token": False}),
    "huggingface": ("huggingface", {}),
    "huggingface, DINOv2": (
        "huggingface",
        {"layer_scale": 1e-5, "hidden_dimension": 64, "number_of_classes": 0},
    ),
    "torchvision": ("torchvision", {}),
    "facebook": ("facebook", {"layer_scale": 1e-5, "hidden_dimension": 64, "number_of_classes": 0}),
    "google": ("google", {"activation": "gelu-tanh"}),
    "clip": ("clip", CLIP_OPTIONS),
    "vit-pytorch": ("vit-pytorch", VIT_PYTORCH_OPTIONS),
}


def damaged(tensor: Tensor) -> list[Tensor | None]:
    """What may stand in a tensor's place: nothing, or other shapes."""
    flat = tensor.flatten().clone() if tensor.ndim > 1 else tensor[None].clone()
    return [None, torch.tensor(1.0), torch.zeros([0] * tensor.ndim), flat, torch.zeros(1, 2, 1, 2, 3)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_no_shape_ends_in_a_traceback(model: str, tmp_path: Path) -> None:
    name, options = MODELS[model]
    folder, given = tmp_path / "model", Given(number_of_heads=4, activation="gelu")
    export_model(folder, portable(number_of_layers=1, **options), FORMATS[name], Report())
    (folder / SIDECAR).unlink()
    whole = {key: tensor.clone() for key, tensor in open_foreign(folder).tensors.items()}
    for file in folder.iterdir():
        if file.suffix != ".json":
            file.unlink()
    refused = 0
    for key, tensor in whole.items():
        for other in damaged(tensor):
            rest = {each: kept for each, kept in whole.items() if each != key}
            save_file(rest if other is None else rest | {key: other}, folder / "model.safetensors")
            try:
                import_model(folder, FORMATS[name], given, Report())
            except Failure:
                refused += 1
            except Exception as error:
                shape = None if other is None else list(other.shape)
                raise AssertionError(f"{key} {list(tensor.shape)} as {shape}: {error!r}") from error
    assert refused > 3 * len(whole)


def test_the_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(), FORMATS["timm"], Report())
    tensors = {key: tensor.clone() for key, tensor in open_foreign(tmp_path / "model").tensors.items()}
    kernel = tensors["patch_embed.proj.weight"]
    save_file(
        tensors | {"patch_embed.proj.weight": kernel.flatten(1).clone()},
        tmp_path / "model" / "model.safetensors",
    )
    with pytest.raises(Failure, match=r"patch_embed\.proj\.weight is \[32, 192\]: expected 4 dimensions"):
        import_model(tmp_path / "model", FORMATS["timm"], Given(), Report())


def test_dinov3_as_transformers_saves_it_without_registers_is_loaded(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    theirs = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**sizes, image_size=32, patch_size=8))
    theirs.save_pretrained(tmp_path / "model")
    assert open_foreign(tmp_path / "model").tensors["embeddings.register_tokens"].shape == (1, 0, 32)
    assert load(tmp_path / "model", format="huggingface").description.model.number_of_register_tokens == 0


def test_register_tokens_of_which_there_are_none_are_none(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(), FORMATS["timm"], Report())
    (tmp_path / "model" / SIDECAR).unlink()
    tensors = {key: tensor.clone() for key, tensor in open_foreign(tmp_path / "model").tensors.items()}
    save_file(tensors | {"reg_token": torch.zeros(1, 0, 32)}, tmp_path / "model" / "model.safetensors")
    report = Report()
    found = import_model(tmp_path / "model", FORMATS["timm"], Given(), report)
    assert found.description.model.number_of_register_tokens == 0
    report.check(())
