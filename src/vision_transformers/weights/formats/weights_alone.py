"""What formats share that are a file of weights and nothing beside it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing, averaged_if_grey, channels_of
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import preset
from vision_transformers.weights.foreign_files import SIDECAR, ForeignModel
from vision_transformers.weights.format import Given, NotTold
from vision_transformers.weights.model_folder import ModelDescription, write_tensors
from vision_transformers.weights.report import Report
from vision_transformers.weights.sidecar import description_beside

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def describe(
    foreign: ForeignModel,
    given: Given,
    report: Report,
    architecture: Callable[[Mapping[str, Tensor], Given, Report], ViTConfig],
    preprocessing: Callable[[ViTConfig], Preprocessing],
) -> ModelDescription:
    """What our own file beside the weights says, if we wrote them; else from shapes and what is given.

    Raises:
        NotTold: shapes do not tell the number of heads or the image's aspect, and nobody gives them.
        UsageFailure: our own file tells what is given.
        Failure: the tensors are not of this format.
    """
    if foreign.sidecar is not None:
        given.check(("classes",), f"weights with {SIDECAR} beside them, which tells all")
        ours = description_beside(foreign.sidecar, foreign.path)
        return ours if given.classes is None else replace(ours, classes=given.classes)
    model = architecture(foreign.tensors, given, report)
    report.notes.append("preprocessing is what the project uses for its published weights")
    return ModelDescription(model, _of_channels(preprocessing(model), model), given.classes or ())


def heads(width: int, published: Mapping[int, int], given: Given, report: Report) -> int:
    """Attention heads: given, of the preset, or what the project's published models of that width have.

    Raises:
        NotTold: none of these does.
    """
    if given.number_of_heads is not None:
        return given.number_of_heads
    if given.preset is not None:
        return preset(given.preset).number_of_heads
    if width not in published:
        raise NotTold(
            f"shapes do not tell the number of attention heads, and no published model is {width} wide",
            "--number-of-heads NUMBER or --preset NAME",
        )
    report.notes.append(f"{published[width]} attention heads, as the published models of width {width} have")
    return published[width]


def image_shape(patches: int, patch_shape: tuple[int, int], given: Given) -> tuple[int, int]:
    """Rows and columns of pixels: given, or of a square grid with that many patches.

    Raises:
        NotTold: no square has that many patches.
    """
    if given.max_image_shape is not None:
        return given.max_image_shape
    side = round(patches**0.5)
    if side * side != patches:
        raise NotTold(f"{patches} patches are no square", "--max-image-shape ROWS COLUMNS")
    return side * patch_shape[0], side * patch_shape[1]


def layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many different names follow a prefix, up to the next dot."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `model.safetensors`: `load_state_dict(safetensors.torch.load_file(...))` takes it."""
    del description
    write_tensors(folder / "model.safetensors", tensors)


def loading(
    constructor: str, arguments: Mapping[str, Any], head: str, folder: Path, description: ModelDescription
) -> tuple[str, ...]:
    """The lines of Python that build a library's model and load what `write` wrote.

    Args:
        constructor: with its module.
        arguments: by name.
        head: the model's attribute, which is replaced where the architecture has no head.
        folder: what was written.
        description: of the model.
    """
    named = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    without_head = () if description.model.number_of_classes else (f"model.{head} = torch.nn.Identity()",)
    file = str(folder / "model.safetensors")
    return (
        f"import safetensors.torch, torch, {constructor.partition('.')[0]}",
        f"model = {constructor}({named}).eval()",
        *without_head,
        f"model.load_state_dict(safetensors.torch.load_file({file!r}))",
    )


def _of_channels(preprocessing: Preprocessing, model: ViTConfig) -> Preprocessing:
    """The preprocessing of colours for a model's own channels."""
    channels = channels_of(model.number_of_channels)
    mean, std = (averaged_if_grey(values, channels) for values in (preprocessing.mean, preprocessing.std))
    return replace(preprocessing, channels=channels, mean=mean, std=std)
