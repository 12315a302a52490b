"""All foreign formats, by name."""

from dataclasses import replace
from pathlib import Path

from vision_transformers.errors import UsageFailure
from vision_transformers.weights.conversion import NotThisFormat, PortableModel, import_model, read_native
from vision_transformers.weights.format import Format, Given, NotTold
from vision_transformers.weights.format_names import NATIVE, check_format
from vision_transformers.weights.formats.clip import CLIP
from vision_transformers.weights.formats.facebook import FACEBOOK
from vision_transformers.weights.formats.google import GOOGLE
from vision_transformers.weights.formats.huggingface import HUGGINGFACE
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.formats.torchvision import TORCHVISION
from vision_transformers.weights.formats.vit_pytorch import VIT_PYTORCH
from vision_transformers.weights.model_folder import find_model_folder
from vision_transformers.weights.report import Report

CONVERT_FIRST = "convert the model once, with `vit convert` and --allow NAME ..., and use what it makes"
"""For those who would leave tensors out where no option allows it."""
FORMATS: dict[str, Format] = {
    format.name: format for format in (TIMM, HUGGINGFACE, TORCHVISION, FACEBOOK, GOOGLE, CLIP, VIT_PYTORCH)
}


def read_as_it_is(path: Path, format: str, report: Report) -> PortableModel:
    """Reads a model of any format whose files tell all of its architecture.

    Raises:
        UsageFailure: as `read_any`; where they do not tell all, with the conversion that mends it.
        Failure: as `read_any`.
    """
    try:
        return read_any(path, format, Given(), report)
    except NotTold as failure:
        raise UsageFailure(
            f"{failure.why}. Convert {path} once, with `vit convert SOURCE TARGET --from {format} "
            f"--to native` and {failure.option}; then give TARGET in its place"
        ) from failure


def read_any(path: Path, format: str, given: Given, report: Report) -> PortableModel:
    """Reads a model of any format, this project's own among them.

    Raises:
        UsageFailure: the format is not known, or the files are of another, which is then named.
        Failure: as `import_model`.
    """
    check_format(format)
    if format == NATIVE:
        return _read_native(path, given)
    try:
        return import_model(path, FORMATS[format], given, report)
    except NotThisFormat as failure:
        likely = [each.name for each in FORMATS.values() if each.recognises(failure.tensors)]
        if (path / "config.json").exists() and "patches.projector.weight" in failure.tensors:
            likely = [NATIVE]
        hint = f" They look like {' or '.join(likely)}: say so with the format" if likely else ""
        if failure.architecture:  # others' tensors may have names that are like those of another format
            hint = (
                f" Its config is that of a {failure.architecture}.{hint or ' No model here has such tensors'}"
            )
        raise UsageFailure(f"{failure}.{hint}") from failure


def _read_native(path: Path, given: Given) -> PortableModel:
    if given != Given(classes=given.classes):
        raise UsageFailure(f"a model folder tells all of itself: leave out what is said of {path}")
    model = read_native(find_model_folder(path))
    if given.classes is None:
        return model
    return replace(model, description=replace(model.description, classes=given.classes))
