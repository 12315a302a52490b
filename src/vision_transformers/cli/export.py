"""`vit export MODEL TARGET.onnx [OPTIONS]`: one file that computes the same without this library."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.streams import standard_input
from vision_transformers.errors import UsageFailure
from vision_transformers.report.predictions import printable

if TYPE_CHECKING:
    from vision_transformers.export.verification import Agreement


@dataclass(frozen=True)
class ExportOptions:
    """A model, and the file to make of it."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run or a model folder."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """The ONNX file to make, such as model.onnx."""
    images: tuple[str, ...] = ()
    """Pictures on which ONNX Runtime is compared with the model: files, folders with all below, globs,
    or - for a list on standard input. Random pixels if not given."""
    tolerance: float = 1e-4
    """How far each output may differ, as a part of the largest; more is a failure, and nothing is written."""
    int8: bool = False
    """Weights of linear layers in 8 bits: a quarter to a third of the size. Needs --images."""
    same_class: float = 0.99
    """With --int8: the part of the images whose likeliest class must be the same; less is a failure."""


def main(arguments: list[str]) -> int:
    """Exports as the arguments say; returns the exit code."""
    options = _parse(arguments)
    from vision_transformers.classifier import load
    from vision_transformers.data.listing import find_pictures
    from vision_transformers.export.export_onnx import check_target, export_int8_onnx, export_onnx

    check_target(options.target)
    classifier = load(options.model, device="cpu")
    pictures = find_pictures(options.images, standard_input()) if options.images else ()
    if options.int8:
        agreement = export_int8_onnx(classifier, options.target, pictures, options.same_class)
    else:
        agreement = export_onnx(classifier, options.target, pictures, options.tolerance)
    _print(agreement, "" if options.images else " of random pixels (--images takes yours)")
    size = options.target.stat().st_size / 2**20
    print(f"written        {printable(str(options.target))}, {size:,.1f} MiB")
    return 0


def _parse(arguments: list[str]) -> ExportOptions:
    description = "Export a model as ONNX, from pixels to probabilities, and check that it computes the same."
    options = tyro.cli(ExportOptions, prog="vit export", description=description, args=arguments)
    check_least(options, tolerance=0, same_class=0)
    if options.same_class > 1:
        raise UsageFailure(f"--same-class is {options.same_class}: expected a part of the images, 0 to 1")
    if options.int8 and not options.images:
        raise UsageFailure("--int8 needs --images: pictures on which to see what 8 bits cost")
    if not options.int8 and options.same_class != ExportOptions.same_class:
        raise UsageFailure("--same-class is for --int8: without it, outputs are compared by --tolerance")
    if options.int8 and options.tolerance != ExportOptions.tolerance:
        raise UsageFailure("--tolerance is for float32: with --int8, guesses are compared by --same-class")
    return options


def _print(agreement: "Agreement", of_what: str) -> None:
    pictures = "1 picture" if agreement.pictures == 1 else f"{agreement.pictures:,} pictures"
    print(f"compared       with ONNX Runtime on the CPU: {pictures}{of_what}")
    for name, difference in agreement.differences.items():
        print(
            f"{name:<14} largest difference {difference.largest:.1e} "
            f"where they reach {difference.largest_output:.3g}"
        )
    if "logits" in agreement.differences:
        print(f"same class     {agreement.same_class:,} of {agreement.pictures:,}")
