"""Low-rank matrices saved alone: small, and of use only beside the weights that they were learned with.

low-rank.safetensors   the matrices, and the head
low-rank.json          format version, rank and parts, which weights they belong to, a model's description
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vision_transformers.config import from_versioned_json, to_json
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import read_json, write_json
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.low_rank import add_low_rank, is_low_rank, merged_weights, unmerged_weights
from vision_transformers.model.vit import ViT
from vision_transformers.weights.adaptation import for_images
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.digest import sha256_of
from vision_transformers.weights.model_folder import (
    ModelDescription,
    description_from_json,
    description_to_json,
    read_tensors,
    write_tensors,
)
from vision_transformers.weights.report import Report, Row
from vision_transformers.weights.verification import compare

FORMAT_VERSION = 1
_TENSORS, _CONFIG = "low-rank.safetensors", "low-rank.json"


@dataclass(frozen=True)
class LowRankFile:
    """What `low-rank.json` says."""

    low_rank: LowRankConfig
    source: str
    """Where the weights came from that the matrices stand beside; for people."""
    source_sha256: str
    """Of those weights."""
    description: dict[str, Any]
    """Of the model with the matrices, as in `config.json`."""


def write_low_rank(
    folder: Path, model: nn.Module, low_rank: LowRankConfig, description: ModelDescription, source: str
) -> None:
    """Writes the matrices and the head of a model, and merges them once to see that this changes no output.

    Args:
        folder: exists, and is empty.
        model: a ViT with the matrices beside its layers.
        low_rank: what they are.
        description: of the model with them.
        source: where the weights came from that they stand beside; for people.

    Raises:
        Failure: merged weights would compute something else.
    """
    _verify(model, description, folder)
    state = model.state_dict()
    own = {name: value for name, value in state.items() if is_low_rank(name) or name.startswith("head.")}
    write_tensors(folder / _TENSORS, own)
    config = LowRankFile(low_rank, source, _digest(state), description_to_json(description))
    write_json(folder / _CONFIG, {"format_version": FORMAT_VERSION} | to_json(config))


def merge_low_rank(source: PortableModel, folder: Path, report: Report) -> PortableModel:
    """Adds saved matrices to the weights that they were learned with; the head is theirs too.

    Raises:
        UsageFailure: it is no such folder, or the weights are others.
        Failure: its files are broken, or merged weights compute something else.
    """
    if not (folder / _CONFIG).exists():
        raise UsageFailure(f"{folder} holds no low-rank matrices: it has no {_CONFIG}")
    config = from_versioned_json(LowRankFile, read_json(folder / _CONFIG), folder / _CONFIG, FORMAT_VERSION)
    description = description_from_json(config.description, folder / _CONFIG)
    wanted, channels = description.model, description.preprocessing.channels
    adapted = for_images(source, report, wanted.max_image_shape, wanted.patch_shape, channels)
    own = read_tensors(folder / _TENSORS)
    body = {name: value.float() for name, value in adapted.weights.items() if not name.startswith("head.")}
    if _digest(body) != config.source_sha256:
        raise UsageFailure(f"{folder} was learned beside other weights: give those of {config.source}")
    dressed = ViT.from_config(replace(description.model, dropout=0.0, stochastic_depth=0.0)).eval()
    try:
        add_low_rank(dressed.transformer.layers, config.low_rank)
    except ValueError as error:
        raise Failure(f"{folder} does not fit its own description: {error}") from error
    dressed.load_state_dict(body | own)
    _verify(dressed, description, folder)
    merged = merged_weights(dressed)
    for name in sorted(merged.keys() & unmerged_weights(dressed).keys()):
        row = Row.of([name], [merged[name]])
        report.add("transformed", row, row, "low-rank matrices merged")
    report.notes.append(f"the head is that of {folder}")
    return PortableModel(merged, description, source.aside)


def _verify(dressed: nn.Module, description: ModelDescription, folder: Path) -> None:
    # A run's model may be on a GPU, and the images to compare with are on the CPU.
    merged = {name: value.cpu() for name, value in merged_weights(dressed).items()}
    difference = compare(PortableModel(merged, description), copy.deepcopy(dressed).cpu().eval())
    if not difference.is_small:
        raise Failure(
            f"{folder}: merged weights compute something else, by {difference.largest:g} where outputs reach "
            f"{difference.largest_output:g}"
        )


def _digest(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of all weights but the head's and the matrices."""
    return sha256_of(
        {
            name: weight
            for name, weight in weights.items()
            if not (is_low_rank(name) or name.startswith("head."))
        }
    )
