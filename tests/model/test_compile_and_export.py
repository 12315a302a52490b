"""Compilation and export, in processes of their own: they cannot trace the tests' run-time type checks."""

import shutil
from pathlib import Path

import pytest
from tests.commands import Vit

from vision_transformers.model.kernels import short_attention


def run(vit: Vit, folder: Path, program: str) -> None:
    finished = vit.run(folder, [], program=program)
    assert finished.code == 0, finished.errors[-3000:]


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")),
    reason="torch.compile needs a C++ compiler",
)


@needs_compiler
def test_the_model_compiles_without_a_graph_break(vit: Vit, tmp_path: Path) -> None:
    """Each break costs part of the speed that compilation is for."""
    run(vit, tmp_path, "compile_model.py")


@needs_compiler
@pytest.mark.skipif(
    not any(map(short_attention.is_available, short_attention.MULTIPLES)),
    reason="nothing is computed in C here",
)
def test_what_is_computed_in_c_compiles_without_a_graph_break(vit: Vit, tmp_path: Path) -> None:
    run(vit, tmp_path, "compile_native_operators.py")


def test_operators_of_this_package_are_used_where_a_model_is_compiled_and_not_where_it_is_exported(
    vit: Vit, tmp_path: Path
) -> None:
    """Else it would be slow, or not run elsewhere."""
    run(vit, tmp_path, "compiled_or_exported.py")


def test_the_model_exports_for_any_batch(vit: Vit, tmp_path: Path) -> None:
    """Else it could not be served outside Python, or only for one batch size."""
    run(vit, tmp_path, "export_model.py")
