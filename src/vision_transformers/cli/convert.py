"""`vit convert SOURCE TARGET --from FORMAT --to FORMAT`: from anybody's files to anybody's."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vision_transformers.cli.familiar_presets import tell_familiar_preset
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import check_can_be_written, check_folder_can_be_written, read_json, write_json
from vision_transformers.weights.format_names import FORMAT_NAMES, NATIVE, check_format

if TYPE_CHECKING:
    from vision_transformers.weights.conversion import PortableModel
    from vision_transformers.weights.report import Report

_FORMAT = f"{{{','.join(FORMAT_NAMES)}}}"


@dataclass(frozen=True)
class ConvertOptions:
    """A model, and what it is to become."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A file of weights, a folder with one, a run, or hf:OWNER/NAME@REVISION."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """The folder to make."""
    source_format: Annotated[str, tyro.conf.arg(name="from", metavar=_FORMAT)]
    """Whose files the source is; native is this project's model folder."""
    target_format: Annotated[str, tyro.conf.arg(name="to", metavar=_FORMAT)]
    """Whose files to write."""
    verify: bool = False
    """Let the other library compute too, and print the largest difference; more than 1e-5 is a failure."""
    report: Path | None = None
    """File for what became of every tensor, as JSON."""
    allow: tuple[str, ...] = ()
    """Tensors that may be left out or newly made: names, or what they begin with, such as head."""
    classes: Path | None = None
    """File with a class name on each line, or a JSON list, where the source has no names; imagenet-1k stands
    for those of ImageNet."""
    preset: str | None = None
    """A named architecture, such as ViT-B/16, for what the files do not tell."""
    number_of_heads: int | None = None
    """Attention heads of each encoder, where the files do not tell."""
    normalization_epsilon: float | None = None
    """Epsilon of every LayerNorm, where the files do not tell."""
    activation: Literal["gelu", "gelu-tanh", "quick-gelu", "swiglu"] | None = None
    """Between the layers of the feed-forward networks, where the files do not tell."""
    pool: Literal["class", "mean", "mean-all", "class-mean", "attention"] | None = None
    """What the head reads, where the files do not tell."""
    max_image_shape: tuple[int, int] | None = None
    """Rows and columns of pixels that the positions are made for, where the files do not tell."""
    low_rank: Path | None = None
    """Folder of low-rank matrices that a run learned beside the source (RUN/low-rank): they are merged."""
    to_image_shape: tuple[int, int] | None = None
    """Make it for images of so many rows and columns: positions are resized by the source's own rule."""
    to_patch_shape: tuple[int, int] | None = None
    """Make it for patches of so many rows and columns: FlexiViT's pseudo-inverse resize."""
    to_channels: Literal[1, 3] | None = None
    """Make it for grey or for colour pictures."""
    to_classes: Path | None = None
    """Give it a head for the class names in this file, or imagenet-1k; unknown ones need --allow head."""


def main(arguments: list[str]) -> int:
    """Converts as the arguments say; returns the exit code."""
    description = "From anybody's files to anybody's, with a report of every tensor."
    options = tyro.cli(ConvertOptions, prog="vit convert", description=description, args=arguments)
    for format in (options.source_format, options.target_format):
        check_format(format)
    if options.target.exists() and not (options.target.is_dir() and not any(options.target.iterdir())):
        raise UsageFailure(f"{options.target} is there already: choose another target, or remove it first")
    adapts: tuple[object, ...] = (options.low_rank, options.to_image_shape, options.to_patch_shape)
    adapts += (options.to_channels, options.to_classes, options.classes)
    if options.source_format == options.target_format and not any(adapts):
        raise UsageFailure(f"source and target are both {options.source_format}: copy the files instead")
    if options.verify and options.source_format == options.target_format == NATIVE:
        raise UsageFailure("--verify lets another library compute too, which reads neither: leave it out")
    check_folder_can_be_written(options.target)
    _check_report(options)
    _convert(options)
    return 0


def _convert(options: ConvertOptions) -> None:
    from vision_transformers.weights.conversion import export_model, write_native
    from vision_transformers.weights.formats.table import FORMATS, read_any
    from vision_transformers.weights.places import local_path
    from vision_transformers.weights.report import Report
    from vision_transformers.weights.rewrites import expressible

    reading, writing = Report(), Report()
    source = local_path(options.source)
    model = read_any(source, options.source_format, _given(options), reading)
    reading.check(options.allow)
    if options.to_classes is None and options.low_rank is None:  # else names come later
        _check_classes(model, options)
    if options.verify and options.source_format != NATIVE:
        _verify(model, options.source_format, source)
    model = _adapted(model, options, reading)
    reading.check(options.allow)
    _check_classes(model, options)

    def further(written: Path) -> None:
        writing.check((*options.allow, "positions"))
        if options.verify and options.target_format != NATIVE:
            _verify(model, options.target_format, written)
            _compare_pictures(model, options.target_format, written)

    if options.target_format == NATIVE:
        write_native(options.target, model, further)
    else:
        format = FORMATS[options.target_format]
        model = expressible(model, format, writing)
        export_model(options.target, model, format, writing, further)
    _print("read", reading)
    _print("written", writing)
    temperature = model.description.temperature
    if options.target_format != NATIVE and temperature is not None:
        print(f"calibration    {options.target_format} computes without the temperature {temperature:.4g}")
    if options.report is not None:
        write_json(options.report, {"read": reading.to_json(), "written": writing.to_json()})
    print(f"written        {options.target}")
    if options.target_format != NATIVE:
        _print_loading(options, model)


def _check_report(options: ConvertOptions) -> None:
    """Whether the report can be written, if it lies elsewhere than in the target, which is yet to be made."""
    if options.report is not None and options.report.parent.resolve() != options.target.resolve():
        check_can_be_written(options.report)


def _adapted(model: "PortableModel", options: ConvertOptions, report: "Report") -> "PortableModel":
    """The model for other images or classes, as far as these are asked for."""
    from vision_transformers.weights import adaptation
    from vision_transformers.weights.class_names import IMAGENET_1K, check_distinct
    from vision_transformers.weights.low_rank_folder import merge_low_rank

    if options.low_rank is not None:
        model = merge_low_rank(model, options.low_rank, report)
    shapes = (options.to_image_shape, options.to_patch_shape)
    model = adaptation.for_images(model, report, *shapes, options.to_channels)
    if options.to_classes is not None:
        classes = _read_classes(options.to_classes, "--to-classes")
        if str(options.to_classes) != IMAGENET_1K:  # of whose birds two share a name, as two garments do
            check_distinct(classes)
        model = adaptation.for_classes(model, classes, 0, report)
    return model


def _given(options: ConvertOptions) -> Any:
    from vision_transformers.weights.format import Given

    if options.preset is not None:
        tell_familiar_preset(options.preset)
    names = ("preset", "number_of_heads", "normalization_epsilon", "activation", "pool", "max_image_shape")
    given = Given(**{name: getattr(options, name) for name in names})
    if options.classes is None:
        return given
    return replace(given, classes=_read_classes(options.classes, "--classes"))


def _read_classes(file: Path, option: str) -> tuple[str, ...]:
    from vision_transformers.weights.class_names import IMAGENET_1K, checked_names, named_classes

    if str(file) == IMAGENET_1K:
        return named_classes(IMAGENET_1K)
    if not file.exists():
        raise UsageFailure(f"there is no file {file}: {option} names one with a class name on each line")
    if file.suffix == ".json":
        from vision_transformers.weights.foreign_config import ForeignConfig

        return ForeignConfig({"classes": read_json(file)}, str(file)).names("classes")
    try:
        # Text of Windows may begin with a mark that nobody sees.
        names = file.read_text(encoding="utf-8-sig").rstrip("\r\n").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFailure(f"{file} is no text in UTF-8: {error}") from error
    try:
        return checked_names(names)
    except UsageFailure as failure:
        raise UsageFailure(f"{file}: {failure}") from failure


def _check_classes(model: "PortableModel", options: ConvertOptions) -> None:
    """Class names are as many as logits; a model folder needs them, and other targets may have none."""
    logits, names = model.description.model.number_of_classes, len(model.description.classes)
    if logits == names or (not names and options.target_format != NATIVE):
        return
    message = (
        f"the model has {logits} classes and {names} class names: "
        "give them with --classes FILE, one on each line, or --classes imagenet-1k for those of ImageNet"
    )
    if not names:
        begin = f"--init {shlex.quote(options.source)} --init-format {options.source_format}"
        message += f". To train it on other classes, none are needed: `vit train finetune {begin} ...`"
    raise UsageFailure(message)


def _verify(model: "PortableModel", format: str, path: Path) -> None:
    from vision_transformers.weights.formats.table import FORMATS
    from vision_transformers.weights.verification import compare

    reference = FORMATS[format].reference
    if reference is None:
        raise UsageFailure(f"no library can be installed to verify {format} with: leave --verify out")
    try:
        theirs = reference(path, model.description)
    except RuntimeError as error:
        raise Failure(f"{format} cannot load {path} itself: {error}. Leave --verify out") from error
    difference = compare(model, theirs)
    found = f"largest difference {difference.largest:.1e} where outputs reach {difference.largest_output:.2f}"
    if not difference.is_small:
        raise Failure(f"{format} computes something else from {path}: {found}. Nothing was written")
    print(f"verified       {format} computes the same: {found}")


def _compare_pictures(model: "PortableModel", format: str, written: Path) -> None:
    """Whether the other library shows the model the same pixels; the report's notes say why not."""
    from vision_transformers.weights.formats.table import FORMATS
    from vision_transformers.weights.verification import LEVELS, compare_pictures

    pictures = FORMATS[format].pictures
    if pictures is None:
        return
    levels = compare_pictures(model.description.preprocessing, pictures(written))
    pixels = "the same pixels" if levels <= LEVELS else "OTHER pixels, as a note says,"
    print(f"pictures       {format} makes {pixels} of random pictures: up to {levels:.0f} of 255 levels off")


def _print_loading(options: ConvertOptions, model: "PortableModel") -> None:
    """Lines to paste into Python, so that nothing stands before them."""
    from vision_transformers.weights.formats.table import FORMATS

    loading = FORMATS[options.target_format].loading
    if loading is not None:
        print("In Python:", *loading(options.target, model.description), sep="\n")


def _print(what: str, report: "Report") -> None:
    for line in report.summary().splitlines():
        print(f"{what:<14} {line}")
