"""Shapes and types of signatures are checked while the tests run; `vit` runs in processes of its own."""

import os
from collections.abc import Iterator

import pytest
import torch
from tests import type_checks
from tests.commands import Vit
from tests.programs import undrawn as without_pixels

if os.environ.get("CHECK_SHAPES", "1") != "0":
    type_checks.install("vision_transformers")


def pytest_configure() -> None:
    """Processes that share the tests out share the cores, too, with what they start."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        threads = max(torch.get_num_threads() // processes, 1)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the command has in tests: numbers are equal to the bit for equal numbers of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not look at diagrams: they are made, but drawn on one pixel."""
    monkeypatch.setattr("vision_transformers.report.style._png", without_pixels.png)
    monkeypatch.setattr("vision_transformers.report.style._svg", without_pixels.svg)
    monkeypatch.setattr(Vit, "drawn", False)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vit]:
    """The command, started without importing torch anew each time."""
    with Vit(tmp_path_factory.mktemp("vit")) as command:
        yield command
