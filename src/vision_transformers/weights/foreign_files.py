"""Opens the files that other projects write: tensors by name, and the JSON that lies beside them.

Nothing in a file is ever executed: safetensors, `torch.load(weights_only=True)` and arrays without pickle.
"""

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vision_transformers.config import first_of
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import read_json
from vision_transformers.weights.containers import apart, unpacked
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.places import OF_TRAINING, SUFFIXES

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Where weights lie in a folder, the first that is there."""
_TEXTS = "SU"
"""Kinds of numpy's arrays of texts, which say nothing about the model."""
CONFIG_FILES = ("config.json", "open_clip_config.json")
SIDECAR = "vision_transformers.json"
"""What this project writes beside weights in somebody's format."""


@dataclass(frozen=True)
class ForeignModel:
    """What somebody's file or folder holds."""

    path: Path
    """As it was asked for."""
    tensors: Mapping[str, Tensor]
    config: ForeignConfig
    """`config.json` or `open_clip_config.json` beside the weights; says nothing where there is none."""
    preprocessor: ForeignConfig
    """`preprocessor_config.json` beside the weights; says nothing where there is none."""
    sidecar: Mapping[str, Any] | None
    """What lies under the name of `SIDECAR` beside weights that this project wrote."""
    beside: Mapping[str, Tensor]
    """Tensors of the file that lie outside of the weights' container, such as a head of a script's own."""
    script: Mapping[str, Any]
    """What else a training script keeps beside weights, such as `arch` and `args`, by name."""
    notes: tuple[str, ...]
    """Which of several containers was read."""


def open_foreign(
    path: Path, prefix: str = "", recognises: Callable[[Mapping[str, Tensor]], bool] = lambda _: True
) -> ForeignModel:
    """Opens a weights file, or a folder with one, and the configuration files beside it.

    Args:
        path: a file or a folder.
        prefix: how names begin that are looked for first, where a folder may hold several libraries' files.
        recognises: whether tensors' names are those of the model, which may be a part of another module.

    Raises:
        UsageFailure: there is nothing, or nothing that is known as a file of weights.
        Failure: the file is damaged, or holds code.
    """
    file = _weights_file(path, _first(WEIGHT_FILES, prefix))
    folder, sidecar = file.parent, file.parent / SIDECAR
    content = _read(file)
    found = apart(unpacked(content), recognises)
    return ForeignModel(
        path,
        found.tensors,
        _config_beside(folder, _first(CONFIG_FILES, prefix)),
        _config_beside(folder, ("preprocessor_config.json",)),
        read_json(sidecar) if sidecar.exists() else None,
        found.beside,
        {name: value for name, value in content.items() if not isinstance(value, Tensor | Mapping)},
        found.notes,
    )


def require_config(path: Path) -> None:
    """Meets what its own library cannot build a model from.

    Raises:
        UsageFailure: no `config.json` lies in the folder.
    """
    if not (path / "config.json").is_file():
        raise UsageFailure(
            f"--verify lets the other library build the model, from a folder with config.json, which {path} "
            "is not: leave --verify out"
        )


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of all files of an index, out of a training script's containers.

    Raises:
        Failure: the file is damaged, holds code, or is none of these kinds.
    """
    return dict(unpacked(_read(file)).tensors)


def _read(file: Path) -> Mapping[Any, Any]:
    """What a file holds: tensors by name, perhaps in dicts of dicts, beside what is none."""
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    match file.suffix:
        case ".safetensors":
            return _read_safetensors(file)
        case ".npz":
            return _read_arrays(file)
        case _:
            return _read_pickled(file)


def _first(names: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """The names, those with a prefix first."""
    return tuple(sorted(names, key=lambda name: not name.startswith(prefix)))


def _weights_file(path: Path, names: tuple[str, ...]) -> Path:
    if path.is_file():
        if not path.name.endswith(SUFFIXES) and not path.name.endswith(".index.json"):
            raise UsageFailure(f"{path} is no file of weights: known are {', '.join(SUFFIXES)}")
        return path
    if not path.is_dir():
        is_name = re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(path)) and not path.name.endswith(SUFFIXES)
        on_the_hub = f": of the Hugging Face Hub's model of that name, give hf:{path}" if is_name else ""
        raise UsageFailure(f"there is no file or folder {path}{on_the_hub}")
    for name in names:
        if (path / name).exists():
            return path / name
    others = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    others = [file for file in others if not file.name.endswith(OF_TRAINING)] or others
    if len(others) == 1:
        return others[0]
    if others:
        raise UsageFailure(f"{path} holds several files of weights: name one, such as {others[0]}")
    raise UsageFailure(f"{path} holds no weights: expected {names[0]}, or a file *{', *'.join(SUFFIXES)}")


def _config_beside(folder: Path, names: tuple[str, ...]) -> ForeignConfig:
    """The first of some files that is there, or a config that says nothing."""
    for file in (folder / name for name in names):
        if file.exists():
            return ForeignConfig(read_json(file), str(file))
    return ForeignConfig({}, f"{folder / names[0]} (missing)")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        raise Failure(
            f"{file} is not a whole safetensors file: {error}. Copy or download it again"
        ) from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise Failure(f"{index} has no weight_map: it is no index of a model in several files")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = index.parent / Path(name).name
        if not shard.exists():
            raise Failure(f"{shard}, which {index.name} names, is missing: copy or download it again")
        tensors |= read_weights(shard)
    if absent := sorted(set(places) - set(tensors)):
        raise Failure(f"{index} names what is in no file: {first_of(absent)}")
    return tensors


def _read_arrays(file: Path) -> dict[str, Tensor]:
    try:
        arrays = np.load(file, allow_pickle=False)
        if not isinstance(arrays, NpzFile):
            raise Failure(f"{file} is one array without a name: expected tensors by name")
        with arrays:
            named = ((name, arrays[name]) for name in arrays.files)
            return {name: _tensor(array) for name, array in named if array.dtype.kind not in _TEXTS}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise Failure(f"{file} is not a whole file of arrays: {error}. Copy or download it again") from error


def _tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor; numpy gives bfloat16 as two bytes without a type."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(array))


def _read_pickled(file: Path) -> Mapping[Any, Any]:
    try:
        if _is_torchscript(file):
            raise Failure(
                f"{file} is a TorchScript archive, which holds code: it is not opened here. Where you trust "
                "it, save its weights with `torch.save(torch.jit.load(FILE).state_dict(), NEW)` and give the "
                "new file"
            )
        # DeiT and MAE keep their options beside the weights, as a plain Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        if not (beginning := _beginning(file)).startswith((b"PK", b"\x80")):
            raise Failure(
                f"{file} is no file of torch.save: it begins with {beginning!r}. Copy or download it again"
            ) from error
        raise Failure(
            f"{file} holds more than weights{_refused(error)}, perhaps code that would run when it is "
            "opened. Where you trust it, open it elsewhere with `torch.load(FILE, weights_only=False)`, save "
            "its state_dict() as safetensors, and give that file"
        ) from error
    except (
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
    ) as error:
        raise Failure(
            f"{file} is not a whole file of torch.save: {error}. Copy or download it again"
        ) from error
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise Failure(f"{file} holds a {type(content).__name__}: expected tensors by name")
    return content


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(24)


def _is_zip(file: Path) -> bool:
    return zipfile.is_zipfile(file)


def _is_torchscript(file: Path) -> bool:
    if not _is_zip(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _refused(error: Exception) -> str:
    """What PyTorch would not unpickle, out of its long message, which goes on to say how to allow it."""
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" ({name[1]})" if name is not None else ""
