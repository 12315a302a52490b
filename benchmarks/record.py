"""What benchmarks keep under benchmarks/results, and of when, which machine and which versions it is."""

import json
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vision_transformers.files import write_file
from vision_transformers.runtime.device import describe_device

RESULTS = Path(__file__).parent / "results"


def machine(device: torch.device) -> str:
    """By what speeds and settings are kept: with another number of threads they are others."""
    return f"{describe_device(device)}, {torch.get_num_threads()} threads"


def title(device: torch.device, libraries: Sequence[str] = ("torch",)) -> str:
    """Date, machine and versions."""
    versions = ", ".join(f"{name} {_version(name)}" for name in libraries)
    return f"{date.today()}, {machine(device)}, Python {platform.python_version()}, {versions}"


def where(title: str) -> str:
    """Date and machine, of a title."""
    return title.partition(", Python")[0]


def machine_of(title: str) -> str:
    """The machine alone."""
    return where(title).partition(", ")[2]


def read(name: str) -> dict[str, Any]:
    """What was recorded under a name that ends with .json; empty where nothing was."""
    file = RESULTS / name
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def write(name: str, content: dict[str, Any]) -> None:
    """Records it under such a name, in the place of what was there."""
    write_text(name, json.dumps(content, indent=1))


def write_text(name: str, text: str) -> None:
    """The same for people, as Markdown."""
    RESULTS.mkdir(exist_ok=True)
    write_file(RESULTS / name, f"{text}\n")


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
