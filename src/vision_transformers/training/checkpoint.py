"""Checkpoints: a state on the disk, whole or not there, and the newest that can be trusted.

checkpoints/step-<8 digits>/
    model/                   a model folder of the raw weights, with low-rank matrices merged into them
    unmerged.safetensors     what merging loses, where there are such matrices
    optimizer.safetensors    every tensor of the optimizers
    average.safetensors      the moving average, where there is one
    best.safetensors         the best weights so far, where they are kept
    state.json               step, running sums, length of metrics.jsonl in bytes
    manifest.json            size and sha256 of each file
checkpoints/LAST             the name of the newest, for people and scripts
"""

import functools
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vision_transformers.config import to_json
from vision_transformers.errors import Failure
from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.files import (
    Broken,
    read_json,
    verify_folder,
    write_file,
    write_folder,
    write_json,
    write_manifest,
)
from vision_transformers.model.low_rank import merged_weights, unmerged_weights
from vision_transformers.training.state import TrainingState
from vision_transformers.weights.model_folder import (
    ModelDescription,
    read_tensors,
    write_model,
    write_tensors,
)

KEPT = 2
FORMAT_VERSION = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What of a checkpoint is not tensors."""

    step: int
    sums: ClassificationSums
    gradient_norm: float
    best_accuracy: float
    updates_of_average: int
    metrics_bytes: int
    """How long metrics.jsonl was: what came after belongs to steps that will be done again."""


def save_checkpoint(
    folder: Path, state: TrainingState, description: ModelDescription, metrics_bytes: int
) -> None:
    """Writes a checkpoint, then points to it, then removes all but it and the one before.

    Later ones, which were broken and passed over, go too.

    Raises:
        Failure: it cannot be written; those that were there still are.
    """
    updates = 0 if state.average is None else int(state.average.n_averaged)
    progress = Progress(
        state.step, state.sums, state.gradient_norm, state.best_accuracy, updates, metrics_bytes
    )

    def fill(path: Path) -> None:
        (path / "model").mkdir()
        write_model(path / "model", merged_weights(state.model), description)
        if unmerged := unmerged_weights(state.model):
            write_tensors(path / "unmerged.safetensors", unmerged)
        write_tensors(path / "optimizer.safetensors", state.optimizers.state())
        if state.average is not None:
            write_tensors(path / "average.safetensors", state.average.module.state_dict())
        if state.best_weights is not None:
            write_tensors(path / "best.safetensors", state.best_weights)
        write_json(path / "state.json", {"format_version": FORMAT_VERSION, **to_json(progress)})
        write_manifest(path)

    path = folder / f"step-{state.step:08d}"
    write_folder(path, fill)
    write_file(folder / "LAST", f"{path.name}\n")
    found = _newest_first(folder)
    newest = found.index(path)
    for other in found[:newest] + found[newest + KEPT :]:
        try:
            shutil.rmtree(other)
        except OSError as error:
            _warn_that_it_stays(other, error.strerror or str(error))


@functools.cache
def _warn_that_it_stays(checkpoint: Path, reason: str) -> None:
    """Once, though it is tried again after every checkpoint: the run needs nothing of it."""
    logger.warning("checkpoint %s is no longer needed, but cannot be removed: %s", checkpoint, reason)


def has_checkpoints(folder: Path) -> bool:
    """Whether any checkpoint was written there."""
    return bool(_newest_first(folder))


def load_checkpoint(folder: Path, state: TrainingState) -> int:
    """Puts the newest checkpoint that is whole into a state, and says how long metrics.jsonl was then.

    One that was cut short or changed is named, and the one before is used. Without any, the state stays at
    the beginning and the length is 0.

    Raises:
        Failure: there are checkpoints, but none is whole.
    """
    found = _newest_first(folder)
    for path in found:
        try:
            verify_folder(path)
        except Broken as error:
            logger.warning("checkpoint %s is broken and is passed over: %s", path.name, error)
            continue
        return _restore(path, state)
    if found:
        raise Failure(f"no checkpoint in {folder} is whole: start a new run")
    return 0


def _restore(path: Path, state: TrainingState) -> int:
    progress = _read_progress(path / "state.json")
    weights = read_tensors(path / "model" / "model.safetensors")
    if (path / "unmerged.safetensors").exists():
        weights |= read_tensors(path / "unmerged.safetensors")
    _load_weights(state.model, weights)
    state.optimizers.load_state(read_tensors(path / "optimizer.safetensors"))
    if state.average is not None:
        _load_weights(state.average.module, read_tensors(path / "average.safetensors"))
        state.average.n_averaged.fill_(progress.updates_of_average)
    if (path / "best.safetensors").exists():
        best = read_tensors(path / "best.safetensors")
        device = next(state.model.parameters()).device
        state.best_weights = {name: value.clone().to(device) for name, value in best.items()}
    state.best_accuracy = progress.best_accuracy
    state.step = progress.step
    state.sums = progress.sums
    state.gradient_norm = progress.gradient_norm
    return progress.metrics_bytes


def _load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        model.load_state_dict(weights)


def _read_progress(path: Path) -> Progress:
    content: dict[str, Any] = read_json(path)
    version = content.pop("format_version")
    if version != FORMAT_VERSION:
        raise Failure(f"{path} has format version {version}; this release reads {FORMAT_VERSION}")
    sums = ClassificationSums(**content.pop("sums"))
    return Progress(sums=sums, **content)


def _newest_first(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
    return sorted(steps, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)
