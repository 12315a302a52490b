"""The model folder: weights, architecture, preprocessing and class names, without pickle.

model.safetensors   every parameter by its name
config.json         format version, architecture, preprocessing, class names, training summary
"""

import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vision_transformers.config import from_versioned_json, to_json
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import fill_file, read_json, write_json
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.patches import grid_shape
from vision_transformers.model.vit import ViT

FORMAT_VERSION = 1


class NotNative(UsageFailure):
    """What lies there is no run and no model folder, but perhaps another library's files."""

    def __init__(self, path: Path, why: str, format: str) -> None:
        self.why = why
        self.conversion = f"`vit convert {shlex.quote(str(path))} NEW --from {format} --to native`"
        super().__init__(
            f"{why}. Another library's files are read with {self.conversion}, "
            f"`vit train --init-format {format}`, or load(..., format={format!r})"
        )


@dataclass(frozen=True)
class ModelDescription:
    """What `config.json` says beside the weights."""

    model: ViTConfig
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    training: dict[str, Any] = field(default_factory=dict)
    """How the model was made; for people and reports."""
    temperature: float | None = None
    """What logits are divided by before the softmax, fitted on validation images (arXiv 1706.04599)."""

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}: expected a number above 0")
        if self.model.number_of_channels != self.preprocessing.channels:
            raise ValueError(
                f"model.number_of_channels is {self.model.number_of_channels}, "
                f"but preprocessing.channels is {self.preprocessing.channels}"
            )
        try:
            grid_shape(self.preprocessing.size, self.model.patch_shape)
        except ValueError as error:
            raise ValueError(f"preprocessing.size is {self.preprocessing.size}: {error}") from error

    def under_another_head(self, model: ViTConfig, classes: tuple[str, ...]) -> "ModelDescription":
        """Of the same weights but the head's: what was measured with the old one is no longer true."""
        training = {name: value for name, value in self.training.items() if name != "metrics"}
        return replace(self, model=model, classes=classes, training=training, temperature=None)


def find_model_folder(path: Path) -> Path:
    """The model folder that a person means: the path itself, or the finished model of a run folder.

    Raises:
        UsageFailure: it is neither; the message says what it is and what to do.
    """
    if (path / "config.json").exists():
        return path
    if (path / "model" / "config.json").exists():
        return path / "model"
    if (path / "recipe.json").exists():
        raise UsageFailure(
            f"the run {path} is not finished, so that it has no model yet: finish it with "
            f"`vit train --resume {shlex.quote(str(path))}`, or name a model in its checkpoints"
        )
    if not path.exists():
        raise UsageFailure(f"there is no model {path}: give the folder of a run or of a model")
    if path.is_file() and (path.parent / "config.json").exists():
        raise UsageFailure(f"{path} is a file of a model: give its folder, {path.parent}")
    raise NotNative(path, f"{path} is neither a run nor a model folder: it has no config.json", "FORMAT")


def write_model(folder: Path, weights: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes a model folder into an existing, empty folder."""
    write_tensors(folder / "model.safetensors", weights)
    write_json(folder / "config.json", description_to_json(description))


def read_model(folder: Path) -> tuple[ViT, ModelDescription]:
    """Reads a model folder: the model in evaluation mode, in float32, on the CPU, and its description.

    Raises:
        Failure: a file is missing, broken, of a later format, or does not fit the architecture, or a weight
            is no number.
    """
    description = read_description(folder)
    weights = read_tensors(folder / "model.safetensors")
    check_numbers(weights, folder)
    try:
        return build(description.model, weights), description
    except RuntimeError as error:
        raise Failure(f"{folder / 'model.safetensors'} does not fit its config.json: {error}") from error


def check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Meets weights with which every answer would be wrong, and some look right.

    Raises:
        Failure: names the first that holds what is infinite or no number.
    """
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise Failure(f"{path} holds numbers that are infinite or none (NaN), in what is {name} here")


def build(config: ViTConfig, weights: Mapping[str, Tensor]) -> ViT:
    """The network with these weights, in evaluation mode and float32; no others are initialised before.

    Raises:
        RuntimeError: the weights are of another architecture.
    """
    with torch.device("meta"):
        model = ViT.from_config(config)
    model.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return model.eval()


def read_description(folder: Path) -> ModelDescription:
    """Reads the `config.json` of a model folder.

    Raises:
        UsageFailure: it is of another library.
        Failure: it is missing, broken or of a later format.
    """
    file = folder / "config.json"
    content = read_json(file)
    _refuse_other_libraries(content, folder)
    return description_from_json(content, file)


def _refuse_other_libraries(content: Any, folder: Path) -> None:
    """Meets what others write under the same name, which a person may take for a model folder.

    Raises:
        NotNative: says how to read it.
    """
    keys = {"architecture": "timm", "model_type": "huggingface"}
    found = [name for key, name in keys.items() if isinstance(content, dict) and key in content]
    if found and "format_version" not in content:
        raise NotNative(folder, f"{folder} looks like {found[0]}", found[0])


def description_to_json(description: ModelDescription) -> dict[str, Any]:
    """The plain values of `config.json`."""
    return {"format_version": FORMAT_VERSION} | to_json(description)


def description_from_json(content: Any, file: Path) -> ModelDescription:
    """A description out of the plain values of a file.

    Raises:
        Failure: they are of another kind of file or of a later format, or one is wrong.
    """
    return from_versioned_json(ModelDescription, content, file, FORMAT_VERSION)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes named tensors as safetensors, without metadata: equal tensors give equal bytes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    def fill(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(plain, temporary)
        except SafetensorError as error:
            raise _of_the_system(error) from error
        temporary.chmod(mode)  # safetensors leaves a file that only its owner may read

    fill_file(path, fill)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads what `write_tensors` wrote, into memory of its own: what becomes of the file does not matter.

    Raises:
        Failure: the file is missing or not safetensors.
    """
    return {name: tensor.clone() for name, tensor in map_tensors(path).items()}


def map_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, which stays mapped as long as they are used: nothing is copied.

    Raises:
        Failure: the file is missing or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except FileNotFoundError as error:
        raise Failure(f"{path} is missing") from error
    except (SafetensorError, OSError) as error:
        raise Failure(f"{path} is not a whole safetensors file: {error}") from error


def _of_the_system(error: SafetensorError) -> Exception:
    """The error of the operating system that safetensors names in its message, such as a full disk."""
    match = re.search(r"os error (\d+)", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else error
