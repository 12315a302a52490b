"""Measures every row of docs/formats.md and prints its table: python -m tests.weights.measure_formats

Each row is a small model with random weights, written in the format and computed by the other library and by
this one on the same random images.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tests.weights import test_google, test_huggingface, test_timm, test_torchvision, test_vit_pytorch
from tests.weights.portable import portable
from torch import Tensor

from vision_transformers.weights.conversion import PortableModel, export_model
from vision_transformers.weights.format import Format
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report
from vision_transformers.weights.verification import Difference, compare

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "timm": test_timm.OPTIONS,
    "huggingface": test_huggingface.OPTIONS,
    "torchvision": test_torchvision.OPTIONS,
    "google": {name: test_google.OPTIONS[name] for name in test_google.READ_BY_TIMM},
    "vit-pytorch": test_vit_pytorch.OPTIONS,
}
JUDGES = {name: name for name in OPTIONS} | {"huggingface": "transformers", "google": "timm"}


def main() -> None:
    """Prints the table."""
    print("| format | architecture | judge | largest difference | largest output |")
    print("| --- | --- | --- | --- | --- |")
    for format, name, difference in differences():
        cells = (
            format,
            name,
            JUDGES[format],
            f"{difference.largest:.1e}",
            f"{difference.largest_output:.1f}",
        )
        print(f"| {' | '.join(cells)} |")


def differences() -> Iterator[tuple[str, str, Difference]]:
    """Format, architecture and what was measured, for every row."""
    for format, table in OPTIONS.items():
        for name, options in table.items():
            with tempfile.TemporaryDirectory() as folder:
                yield (
                    format,
                    name,
                    measure(FORMATS[format], name, portable(**options), Path(folder) / "model"),
                )


def measure(format: Format, name: str, model: PortableModel, folder: Path) -> Difference:
    """Writes the model and lets both libraries compute."""
    export_model(folder, model, format, Report())
    theirs: Callable[[Tensor], Tensor]
    if format.reference is None:
        other = test_google.read_by_timm(folder, test_google.READ_BY_TIMM[name])
        theirs = lambda images: torch.as_tensor(other(images))  # noqa: E731
    else:
        theirs = format.reference(folder, model.description)
    return compare(model, theirs)


if __name__ == "__main__":
    main()
