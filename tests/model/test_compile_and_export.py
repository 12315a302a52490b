"""Compilation and export, in processes of their own: they cannot trace the tests' run-time type checks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vision_transformers.model.kernels import short_attention

PROGRAMS = Path(__file__).parent.parent / "programs"


def run(program: str) -> None:
    command = [sys.executable, str(PROGRAMS / program)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")),
    reason="torch.compile needs a C++ compiler",
)


@needs_compiler
def test_the_model_compiles_without_a_graph_break():
    """Each break costs part of the speed that compilation is for."""
    run("compile_model.py")


@needs_compiler
@pytest.mark.skipif(not short_attention.is_available(), reason="nothing is computed in C here")
def test_what_is_computed_in_c_compiles_without_a_graph_break():
    run("compile_native_operators.py")


def test_operators_of_this_package_are_used_where_a_model_is_compiled_and_not_where_it_is_exported():
    """Else it would be slow, or not run elsewhere."""
    run("compiled_or_exported.py")


def test_the_model_exports_for_any_batch():
    """Else it could not be served outside Python, or only for one batch size."""
    run("export_model.py")
