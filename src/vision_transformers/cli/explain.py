"""`vit explain MODEL IMAGE|FOLDER ... [OPTIONS]`: see what the model looks at, and how far to believe it."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.streams import standard_input
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.files import check_folder_can_be_written, write_file

if TYPE_CHECKING:
    from torch import Tensor

    from vision_transformers.classifier import Classifier
    from vision_transformers.report.explanation import Explanation

logger = logging.getLogger(__name__)

MethodName = Literal[
    "attention-lrp",
    "relevance",
    "integrated-gradients",
    "occlusion",
    "occlusion-mean",
    "rollout",
    "attention",
]
LONGEST_STEM = 180
"""Bytes of a picture's folder and name in that of its file, of the 255 that a file system usually allows."""
WARNED_IMAGES = 16
"""Pictures that are looked at for tokens that have lost their place."""
SEVERAL = 10
"""Pictures from which on it is told how many there are, and how far it is."""


@dataclass(frozen=True)
class ExplainOptions:
    """A model, pictures, and how to explain them."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run or a model folder."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE|FOLDER|- ...")] = ()
    """Files, folders with all below, globs such as "photos/**/*.jpg", or - for a list on standard input."""
    of: Literal["pictures", "weights"] = "pictures"
    """What to explain: pictures, or the model's weights, in the three drawings of the paper's figure 7."""
    method: MethodName = "attention-lrp"
    """How; the page of --format html has all of them to choose from."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """The class to explain, by its name; what the model guesses if not given."""
    format: Literal["png", "html", "npz"] = "png"
    """A sheet or a page for each picture, or its arrays; html has an index too."""
    limit: int | None = None
    """Explain so many pictures, the first ones; all if not given."""
    output: Path = Path("explanations")
    """The folder to write into, NUMBER-FOLDER-NAME for a picture; what has the same name is written over."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""


def main(arguments: list[str]) -> int:
    """Explains as the arguments say; returns the exit code."""
    description = "See what the model looks at, and how far to believe the picture."
    options = tyro.cli(ExplainOptions, prog="vit explain", description=description, args=arguments)
    _check(options)
    return _explain_weights(options) if options.of == "weights" else _explain_pictures(options)


def _check(options: ExplainOptions) -> None:
    """Meets what makes no sense before anything is read.

    Raises:
        UsageFailure: names the option.
    """
    if options.of == "pictures" and not options.images:
        raise UsageFailure("name pictures: files, folders, or - for a list on standard input")
    untouched = ExplainOptions(options.model)
    of_pictures = {"--method": "method", "--class": "label", "--format": "format", "--limit": "limit"}
    given = [
        option for option, name in of_pictures.items() if getattr(options, name) != getattr(untouched, name)
    ]
    if options.of == "weights" and given:
        raise UsageFailure(
            f"{given[0]} is of no use with --of weights, which writes weights.png only: leave it out"
        )
    if options.limit is not None:
        check_least(options, limit=1)
    check_folder_can_be_written(options.output)


def _explain_pictures(options: ExplainOptions) -> int:
    from vision_transformers.data.progress import telling
    from vision_transformers.report.explanation_page import IndexEntry, index_page
    from vision_transformers.report.predictions import printable

    classifier = _classifier(options)
    if options.format == "html":
        logger.info("a page holds every method, which takes several times as long as a sheet of --format png")
    paths = _chosen(options)
    explained = _explained(options, classifier, paths)
    earlier = _written_before(options.output)
    failures = 0
    entries = []
    told = telling(explained, len(paths)) if len(paths) >= SEVERAL else explained
    for number, (path, explanation) in enumerate(told):
        if explanation is None:
            failures += 1
            continue
        file = _write(options, explanation, path, number)
        earlier.discard(file.name)
        if options.format == "html":
            entries.append(IndexEntry.of(file.name, explanation))
        guess = f"{printable(explanation.label)} {explanation.probability:.1%}"
        print(f"{printable(str(path))}: {guess}  {printable(str(file))}")
    if entries:
        write_file(options.output / "index.html", index_page("What the model looks at", entries))
        print(f"page           {options.output / 'index.html'}")
    _tell_of_earlier_files(options.output, earlier)
    return DataFailure.exit_code if failures else 0


def _written_before(folder: Path) -> set[str]:
    """The names of what earlier calls wrote into a folder, which need not be there."""
    return {path.name for path in folder.glob("[0-9][0-9][0-9][0-9]*-*.*")}


def _tell_of_earlier_files(folder: Path, names: set[str]) -> None:
    """Else nobody could tell which of the files belong together."""
    if names:
        files = "1 file" if len(names) == 1 else f"{len(names):,} files"
        logger.info("%s also holds %s of earlier calls; another --output keeps them apart", folder, files)


def _classifier(options: ExplainOptions) -> "Classifier":
    """The model, once it is known that what is asked of it makes sense."""
    from vision_transformers.classifier import load
    from vision_transformers.cli.explanations import has_one_patch
    from vision_transformers.config import nearest
    from vision_transformers.explain.methods import METHODS

    classifier = load(options.model, device=options.device)
    if not classifier.classes and options.of == "pictures":
        raise UsageFailure(f"{options.model} has no classification head: there is no decision to explain")
    if options.label is not None and options.label not in classifier.classes:
        raise UsageFailure(
            f"no class is called {options.label!r}: {nearest(options.label, classifier.classes)}"
        )
    if METHODS[options.method].is_slow and has_one_patch(classifier):
        raise UsageFailure(
            f"--method {options.method} takes patches away one by one, and the model has one patch in all: "
            "choose another"
        )
    return classifier


def _pictures(options: ExplainOptions) -> Iterator[Path]:
    from vision_transformers.data.listing import find_pictures

    return find_pictures(options.images, standard_input())


def _chosen(options: ExplainOptions) -> Sequence[Path]:
    """The pictures to explain; says how many there are, where that is not seen at once."""
    from vision_transformers.data.listing import STANDARD_INPUT

    if STANDARD_INPUT in options.images and options.limit is not None:
        return list(islice(_pictures(options), options.limit))  # a list need not end for its first to be seen
    named = list(_pictures(options))
    chosen = named[: options.limit]
    if len(chosen) < len(named):
        logger.info("explaining the first %s of %s pictures", f"{len(chosen):,}", f"{len(named):,}")
    elif len(chosen) >= SEVERAL:
        logger.info("explaining %s pictures; --limit N takes the first N", f"{len(chosen):,}")
    return chosen


def _explained(
    options: ExplainOptions, classifier: "Classifier", paths: Sequence[Path]
) -> "Iterator[tuple[Path, Explanation | None]]":
    """Each picture as it comes; None for one that cannot be read, of which it says why."""
    for path in paths:
        try:
            explanation = _explanation(options, classifier, path)
        except DataFailure as failure:
            print(f"vit: {failure}", file=sys.stderr)
            explanation = None
        yield path, explanation


def _explanation(options: ExplainOptions, classifier: "Classifier", path: Path) -> "Explanation":
    from vision_transformers.cli.explanations import explain_picture, methods_for
    from vision_transformers.data.decoding import decode

    picture = decode(path, classifier.preprocessing.channels, classifier.preprocessing.background)
    with_choices = options.format != "png"
    others = [name for name in methods_for(classifier) if name != options.method] if with_choices else []
    methods = [options.method, *others]
    name = str(Path(path.parent.name, path.name))
    return explain_picture(classifier, picture, name, methods, options.label, with_choices)


def _write(options: ExplainOptions, explanation: "Explanation", path: Path, number: int) -> Path:
    """Writes what is shown of one picture; a number keeps equal names apart, and the order."""
    from vision_transformers.report.explanation import explanation_npz, explanation_png
    from vision_transformers.report.explanation_page import explanation_page

    content = {"png": explanation_png, "html": explanation_page, "npz": explanation_npz}[options.format](
        explanation
    )
    file = options.output / _file_name(path, number, options.format)
    options.output.mkdir(parents=True, exist_ok=True)
    write_file(file, content)
    return file


def _file_name(path: Path, number: int, ending: str) -> str:
    """Such as `0007-frog-0003.png`: the folder of a picture is often its class."""
    folder = f"{path.parent.name}-" if path.parent.name else ""
    return f"{number:04d}-{_shortened(folder + path.stem)}.{ending}"


def _shortened(stem: str) -> str:
    """The beginning of a name that leaves room for what is put around it, also while the file is written."""
    while len(os.fsencode(stem)) > LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _explain_weights(options: ExplainOptions) -> int:
    """The pictures of figure 7, and a warning where tokens have lost their place."""
    from vision_transformers.explain.features import high_norm_tokens
    from vision_transformers.explain.weights import attention_distance, patch_filters, position_similarity
    from vision_transformers.report.weights_figure import weights_png

    classifier = _classifier(options)
    images, origin = _images_to_attend_to(options, classifier)
    try:
        similarity = position_similarity(classifier.model).cpu().numpy()
    except ValueError:
        similarity = None
    filters = patch_filters(classifier.model).cpu().numpy()
    distances = attention_distance(classifier.model, images).cpu().numpy()
    file = options.output / "weights.png"
    options.output.mkdir(parents=True, exist_ok=True)
    write_file(file, weights_png(filters, similarity, distances, origin))
    print(f"written        {file}")
    if (warning := high_norm_tokens(classifier.model, images).warning()) is not None:
        print(f"vit: {warning}", file=sys.stderr)
    return 0


def _images_to_attend_to(options: ExplainOptions, classifier: "Classifier") -> "tuple[Tensor, str]":
    """Normalised images for the attention distance: those that are named, or two photographs' crops."""
    import itertools

    from vision_transformers.cli.explanations import crops_of_photographs

    if options.images:
        pictures = list(itertools.islice(_pictures(options), WARNED_IMAGES))
        return classifier.inputs(pictures), f"{len(pictures)} of the pictures that were named"
    crops = crops_of_photographs(WARNED_IMAGES)
    return classifier.inputs(crops), f"{len(crops)} crops of the photographs that scikit-learn ships"
