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
    target = Path(path)
    check_target(target)
    named = _named(pictures)
    if classifier.device.type != "cpu" or classifier.precision != "float32":
        raise UsageFailure("exported is what is computed in float32 on the CPU: load(..., device='cpu')")
    from vision_transformers.export.onnx_file import check_size, onnx_bytes
    from vision_transformers.export.program import Program
    from vision_transformers.export.verification import verify

    program = Program(classifier).eval()
    check_size(program)
    content = onnx_bytes(program, classifier.description)
    agreement = verify(content, classifier, named, tolerance)
    write_file(target, content)
    return agreement


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
