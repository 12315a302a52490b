"""From somebody's files to ours, and back: read, check against the architecture, report."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vision_transformers.config import first_of
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import write_folder
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.foreign_files import SIDECAR, ForeignModel, open_foreign
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.model_folder import (
    ModelDescription,
    check_numbers,
    map_tensors,
    read_description,
    write_model,
    write_tensors,
)
from vision_transformers.weights.report import NAMED, Report, Row, tensors_counted
from vision_transformers.weights.rules import Rule, names_of, read_by, write_by
from vision_transformers.weights.sidecar import description_beside, is_of, write_sidecar

ASIDE = re.compile(r"kept-aside\.(?P<format>[a-z-]+)\.safetensors")


class NotThisFormat(UsageFailure):
    """The file is not what it is said to be."""

    def __init__(self, format: Format, foreign: ForeignModel) -> None:
        names = ", ".join(list(foreign.tensors)[:NAMED])
        super().__init__(
            f"{foreign.path} is not of the format {format.name}: its tensors are called {names}, ..."
        )
        self.tensors = foreign.tensors
        self.architecture = foreign.config.text(format.architecture_key, "")
        """As the config names it, if it is of the format's library."""


@dataclass(frozen=True)
class Aside:
    """Tensors without a place in the model: written back where the format they came from is written."""

    format: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class PortableModel:
    """A model on its way between files: weights under our names, in the dtype that they are stored in."""

    weights: dict[str, Tensor]
    description: ModelDescription
    aside: Aside | None = None


def import_model(path: Path, format: Format, given: Given, report: Report) -> PortableModel:
    """Reads somebody's model.

    What no rule reads is kept aside where the format knows it, else it is left out, which the report says:
    whether that is allowed is the caller's to judge.

    Raises:
        UsageFailure: there is no such file, it is of another format, or the architecture is not told.
        Failure: the file is damaged, or its tensors do not fit the architecture.
    """
    given.check(format.given, f"{format.name} files")
    opened = open_foreign(path, format.prefix, format.recognises)
    if not format.recognises(opened.tensors):
        raise NotThisFormat(format, opened)
    report.notes += opened.notes
    foreign = replace(opened, tensors=format.canonical(opened.tensors))
    description = _described(foreign, format, given, report)
    given.check_that_it_holds(description.model, path)
    rules, layers = format.rules(description.model), description.model.number_of_layers
    weights = read_by(rules, layers, foreign.tensors, report)
    check_shapes(weights, description.model, str(path))
    check_numbers(weights, path)
    used = names_of(rules, layers)
    # Empty ones, of which transformers' DINOv3 has one where it has no registers, hold nothing to lose.
    unused = {name: tensor for name, tensor in foreign.tensors.items() if name not in used and tensor.numel()}
    _check_layers_are_read(unused, rules, path)
    for name, tensor in opened.beside.items():
        if tensor.numel():
            report.add("left_out", Row.of([name], [tensor]), Row(()), "beside the model in its file")
    return PortableModel(weights, description, _set_aside(unused, format, report))


def _check_layers_are_read(unused: Mapping[str, Tensor], rules: list[Rule], path: Path) -> None:
    """An encoder without one of its tensors would compute something else; so would any model here.

    Raises:
        Failure: some tensor of an encoder is not known; names them.
    """
    named = {name.partition("{layer}")[0] for rule in rules for name in rule.theirs if rule.is_of_layers}
    layers = re.compile("|".join(rf"{re.escape(before)}\d+\b.*" for before in named))
    unknown = [name for name in unused if layers.fullmatch(name)]
    if unknown:
        raise Failure(
            f"{path} holds {tensors_counted(len(unknown))} that no encoder here has, and would compute "
            f"something else without them: {first_of(unknown, NAMED)}"
        )


def export_model(
    folder: Path,
    model: PortableModel,
    format: Format,
    report: Report,
    further: Callable[[Path], None] | None = None,
) -> None:
    """Writes a folder that another project reads.

    Args:
        folder: appears whole, or not at all.
        model: what to write.
        format: whose files.
        report: gets what became of each tensor.
        further: checks or writes more, in the folder before it takes its name.

    Raises:
        UsageFailure: the format cannot express the architecture; names the option.
    """
    format.check(model.description.model)
    theirs = write_by(
        format.rules(model.description.model),
        model.description.model.number_of_layers,
        model.weights,
        report,
    )
    if model.aside is not None:
        theirs |= _written_back(model.aside, format, report)
    report.notes += format.picture_notes(model.description.preprocessing)

    def fill(empty: Path) -> None:
        format.write(empty, theirs, model.description)
        write_sidecar(empty, _with_a_place(theirs, format), model.description)
        if further is not None:
            further(empty)

    write_folder(folder, fill)


def read_native(folder: Path) -> PortableModel:
    """Reads a model folder of this project, with what was kept aside in it.

    Raises:
        UsageFailure: the folder is another library's.
        Failure: a file is missing or damaged, or a weight is no number.
    """
    description = read_description(folder)
    weights = map_tensors(folder / "model.safetensors")
    check_numbers(weights, folder)
    return PortableModel(weights, description, read_aside(folder))


def read_aside(folder: Path) -> Aside | None:
    """What was kept aside in a model folder; its file stays mapped: nothing is copied.

    Raises:
        Failure: the file is damaged.
    """
    for file in folder.iterdir():
        if match := ASIDE.fullmatch(file.name):
            return Aside(match["format"], map_tensors(file))
    return None


def write_native(folder: Path, model: PortableModel, further: Callable[[Path], None] | None = None) -> None:
    """Writes a model folder of this project, with what was kept aside; arguments as of `export_model`."""

    def fill(empty: Path) -> None:
        write_model(empty, model.weights, model.description)
        if model.aside is not None:
            write_tensors(empty / f"kept-aside.{model.aside.format}.safetensors", dict(model.aside.tensors))
        if further is not None:
            further(empty)

    write_folder(folder, fill)


def _described(foreign: ForeignModel, format: Format, given: Given, report: Report) -> ModelDescription:
    """What the files say, and our own beside them: all of it, or of other weights the architecture alone."""
    if foreign.sidecar is None:
        return _said(foreign, format, given, report)
    ours = description_beside(foreign.sidecar, foreign.path)
    if is_of(foreign.sidecar, _with_a_place(foreign.tensors, format)):
        return _with_sidecar(_said(foreign, format, given, report), ours, format, report)
    report.notes.append(
        f"{SIDECAR} has no hash, or that of other weights than lie beside it now: nothing in it counts but "
        "the architecture"
    )
    known = given if foreign.config else given.completed_by(ours.model, format.given)
    said = _said(replace(foreign, sidecar=None), format, known, report)
    return replace(said, model=_with_silent(said.model, ours.model, format, report))


def _said(foreign: ForeignModel, format: Format, given: Given, report: Report) -> ModelDescription:
    """What the files say, if it makes sense together."""
    try:
        return format.describe(foreign, given, report)
    except ValueError as error:
        raise Failure(f"{foreign.path} says of itself what cannot be: {error}") from error


def _with_sidecar(
    description: ModelDescription, ours: ModelDescription, format: Format, report: Report
) -> ModelDescription:
    """The description, with what only the file that we wrote beside the weights knows."""
    said = {name: getattr(ours.preprocessing, name) for name in ("background", "crop_rounding")}
    return replace(
        description,
        model=_with_silent(description.model, ours.model, format, report),
        preprocessing=replace(description.preprocessing, **said),
        temperature=ours.temperature,
        training=ours.training,
    )


def _with_silent(model: ViTConfig, ours: ViTConfig, format: Format, report: Report) -> ViTConfig:
    """The architecture, with the options of ours that the format's files do not tell."""
    silent = {
        name: getattr(ours, name)
        for name in format.silent
        if (getattr(ours, name) is None) == (getattr(model, name) is None)
        and getattr(ours, name) != getattr(model, name)
    }
    if silent:
        report.notes.append(f"as {SIDECAR} says: {', '.join(silent)}")
    return replace(model, **silent)


def _written_back(aside: Aside, format: Format, report: Report) -> Mapping[str, Tensor]:
    """What was kept aside, where the format is the one that it came from; another has no place for it."""
    row = Row.of(list(aside.tensors), list(aside.tensors.values()))
    if aside.format == format.name:
        report.add("matched", row, row, "kept aside when it was read")
        return aside.tensors
    report.add("without_place", row, Row(()), f"kept aside for the format {aside.format}")
    roots = ", ".join(sorted({name.split(".")[0] for name in aside.tensors}))
    report.notes.append(
        f"{format.name} has no place for what {aside.format} has beside a classifier: {roots}"
    )
    return {}


def _with_a_place(tensors: Mapping[str, Tensor], format: Format) -> dict[str, Tensor]:
    """Those that a classifier is made of: of the others, some are written though nobody has trained them."""
    return {name: tensor for name, tensor in tensors.items() if not _is_beside(name, format)}


def _is_beside(name: str, format: Format) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in format.aside)


def _set_aside(tensors: Mapping[str, Tensor], format: Format, report: Report) -> Aside | None:
    """What no rule reads: known to the format, or left out."""
    known: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _is_beside(name, format):
            known[name] = tensor
            report.add("kept_aside", Row.of([name], [tensor]), Row(()))
        else:
            report.add("left_out", Row.of([name], [tensor]), Row(()), "not known to the format")
    return Aside(format.name, known) if known else None


def check_shapes(weights: Mapping[str, Tensor], config: ViTConfig, whose: str) -> None:
    """Compares every tensor with what the architecture has.

    Raises:
        Failure: says whose they are, and names the first that differ, with both shapes.
    """
    with torch.device("meta"):
        expected = ViT.from_config(config).state_dict()
    problems = [
        f"{name} is {list(weights[name].shape)} there and {list(tensor.shape)} in the architecture"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems += [f"{name} is not in the architecture" for name in weights if name not in expected]
    problems += [f"{name} is not there" for name in expected if name not in weights]
    if problems:
        more = f"\n  and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        listed = "\n  ".join(problems[:NAMED])
        raise Failure(f"{whose} does not fit the architecture that its config gives:\n  {listed}{more}")
