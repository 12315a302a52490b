"""What we write beside weights counts for these weights alone, not for what is put in their place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.weights.portable import portable
from torch import Tensor

from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import PortableModel, export_model, import_model
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report
from vision_transformers.weights.sidecar import SIDECAR

CALIBRATED = 1.5
DROPOUT = 0.1


def exported(folder: Path, format: str) -> dict[str, Tensor]:
    """A calibrated model with dropout in somebody's files; gives its tensors there."""
    model = portable(dropout=DROPOUT)
    calibrated = replace(model.description, temperature=CALIBRATED, training={"recipe": "digits"})
    export_model(folder, replace(model, description=calibrated), FORMATS[format], Report())
    return load_file(folder / "model.safetensors")


def read(path: Path, format: str, report: Report | None = None) -> PortableModel:
    return import_model(path, FORMATS[format], Given(), report or Report())


@pytest.mark.parametrize("format", ["timm", "torchvision"])
def test_weights_that_were_trained_further_in_place_lose_the_old_temperature(
    format: str, tmp_path: Path
) -> None:
    tensors = exported(tmp_path / "model", format)
    assert read(tmp_path / "model", format).description.temperature == CALIBRATED
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, tmp_path / "model/model.safetensors")
    report = Report()
    found = read(tmp_path / "model", format, report).description
    assert found.temperature is None
    assert found.training == {}
    assert (found.model.number_of_heads, found.model.dropout) == (4, DROPOUT)
    assert any("that of other weights" in note for note in report.notes)


def test_a_new_head_gets_no_old_class_names(tmp_path: Path) -> None:
    tensors = exported(tmp_path / "model", "torchvision")
    for classes in (5, 3):
        head = {"heads.head.weight": torch.randn(classes, 32), "heads.head.bias": torch.zeros(classes)}
        save_file(tensors | head, tmp_path / "model" / "model.safetensors")
        found = read(tmp_path / "model", "torchvision").description
        assert (found.model.number_of_classes, found.classes) == (classes, ())


def test_without_a_hash_it_may_be_of_any_weights(tmp_path: Path) -> None:
    exported(tmp_path / "model", "torchvision")
    file = tmp_path / "model" / SIDECAR
    content = json.loads(file.read_text())
    del content["weights_sha256"]
    file.write_text(json.dumps(content))
    assert read(tmp_path / "model", "torchvision").description.temperature is None


def test_a_broken_one_is_named_where_it_lies(tmp_path: Path) -> None:
    exported(tmp_path / "model", "torchvision")
    (tmp_path / "model" / SIDECAR).write_text("{}")
    for path in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        with pytest.raises(Failure, match=rf"model/{SIDECAR} is of another kind"):
            read(path, "torchvision")
