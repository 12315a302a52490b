"""From a classifier to an ONNX file that computes the same."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vision_transformers.classifier import Classifier
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.files import check_can_be_written, write_file

if TYPE_CHECKING:
    from vision_transformers.export.verification import Agreement

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(
    classifier: Classifier, path: Path | str, pictures: Iterable[Path | str] = (), tolerance: float = 1e-4
) -> "Agreement":
    """Writes one ONNX file, from pixels to probabilities, once ONNX Runtime has computed the same with it.

    Args:
        classifier: in float32 on the CPU.
        path: of the new file, ending with `.onnx`.
        pictures: files on which to compare; random pixels are compared in any case. They are read last, which
            with many takes longer than all before.
        tolerance: how far an output may differ, as a part of the largest.

    Returns:
        How both compare on the pictures; where there are none, on 10 of random pixels.

    Raises:
        UsageFailure: a library is missing, the path will not do, or the classifier is elsewhere.
        Failure: the model cannot be exported, or something else is computed.
        DataFailure: a picture is not there, which is known at once, or cannot be read.
    """
    target, named = _checked(classifier, path, pictures)
    from vision_transformers.export.verification import verify

    content = _content(classifier)
    agreement = verify(content, classifier, named, tolerance)
    write_file(target, content)
    return agreement


def export_int8_onnx(
    classifier: Classifier, path: Path | str, pictures: Iterable[Path | str], least_agreement: float = 0.99
) -> "Agreement":
    """As `export_onnx`, with the weights of linear layers, and what they are multiplied by, in 8 bits.

    Args:
        classifier: in float32 on the CPU.
        path: of the new file, ending with `.onnx`.
        pictures: files on which to compare: of the kind that the model is for, and not those it learned from.
        least_agreement: the part of them, 0 to 1, for which the likeliest class must be the same.

    Returns:
        How both compare on the pictures.

    Raises:
        UsageFailure: as there; also where there are no pictures, or the model has no classes.
        Failure: the model cannot be exported, or guesses otherwise for more of the pictures.
        DataFailure: a picture is not there, or cannot be read.
    """
    target, named = _checked(classifier, path, pictures)
    if not named:
        raise UsageFailure(
            "numbers of 8 bits are not the model's, and random pixels do not tell what they cost: "
            "give pictures of the kind that the model is for"
        )
    if not classifier.classes:
        raise UsageFailure(
            "the model has no classes, by which to judge what 8 bits cost: export it in float32"
        )
    from vision_transformers.export.quantization import quantized
    from vision_transformers.export.verification import verify_guesses

    content = quantized(_content(classifier))
    agreement = verify_guesses(content, classifier, named, least_agreement)
    write_file(target, content)
    return agreement


def _checked(
    classifier: Classifier, path: Path | str, pictures: Iterable[Path | str]
) -> tuple[Path, list[Path]]:
    """The target and the pictures, once it is known that they will do."""
    target = Path(path)
    check_target(target)
    named = _named(pictures)
    if classifier.device.type != "cpu" or classifier.precision != "float32":
        raise UsageFailure("exported is what is computed in float32 on the CPU: load(..., device='cpu')")
    return target, named


def _content(classifier: Classifier) -> bytes:
    """Of a file that computes in float32."""
    from vision_transformers.export.onnx_file import check_size, onnx_bytes
    from vision_transformers.export.program import Program

    program = Program(classifier).eval()
    check_size(program)
    return onnx_bytes(program, classifier.description)


def check_target(path: Path) -> None:
    """Looks, before a model is read, whether a new ONNX file can be made at a path.

    Raises:
        UsageFailure: says why not, and what to do.
    """
    if path.suffix != ".onnx":
        raise UsageFailure(f"the target is {path}: its ending should be .onnx")
    if os.path.lexists(path):
        raise UsageFailure(f"{path} is there already: choose another target, or remove it first")
    check_can_be_written(path)
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise UsageFailure(
            f"an export needs {' and '.join(missing)}: "
            'install it with `pip install "vision_transformers[export]"`'
        )


def _named(pictures: Iterable[Path | str]) -> list[Path]:
    """All of them, once each is known to be there."""
    named = [Path(picture) for picture in pictures]
    for path in named:
        if not os.path.exists(path):
            raise DataFailure(f"{path} does not exist: check the path")
    return named
