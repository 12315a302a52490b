"""The file that lies beside exported weights: what their format cannot say, and of which weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_transformers.files import write_json
from vision_transformers.weights.digest import sha256_of
from vision_transformers.weights.foreign_files import SIDECAR
from vision_transformers.weights.model_folder import (
    ModelDescription,
    description_from_json,
    description_to_json,
)

_SHA256 = "weights_sha256"


def write_sidecar(folder: Path, tensors: Mapping[str, Tensor], description: ModelDescription) -> None:
    """Writes the description of a model beside its tensors, which go by the format's canonical names."""
    write_json(folder / SIDECAR, description_to_json(description) | {_SHA256: sha256_of(tensors)})


def description_beside(content: Any, weights: Path) -> ModelDescription:
    """The description in the file's content.

    Args:
        content: what the file holds.
        weights: the file or folder that it lies beside or in.

    Raises:
        Failure: it is another kind of file or of a later format, or a value in it is wrong.
    """
    folder = weights if weights.is_dir() else weights.parent
    if isinstance(content, Mapping):
        content = {name: value for name, value in content.items() if name != _SHA256}
    return description_from_json(content, folder / SIDECAR)


def is_of(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether it was written beside these tensors: somebody may have trained them further in their place.

    Where it has no hash, nothing says so.
    """
    return _SHA256 in content and content[_SHA256] == sha256_of(tensors)
