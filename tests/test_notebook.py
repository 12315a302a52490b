"""The notebook runs from top to bottom, and what is committed is what it says and shows."""

import getpass
import os
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
MNIST = Path(os.environ.get("VISION_TRANSFORMERS_DATA", "")) / "MNIST" / "raw"


def committed() -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / "mnist.ipynb", as_version=4)


@pytest.mark.skipif(
    not MNIST.is_dir(), reason="needs MNIST: set VISION_TRANSFORMERS_DATA to the folder that holds MNIST/raw"
)
def test_it_runs_on_a_small_setting(tmp_path: Path) -> None:
    notebook = jupytext.read(FOLDER / "mnist.py")
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source = f"epochs, steps, run_folder = 1, 60, {str(tmp_path / 'run')!r}"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4


def test_both_files_have_the_same_cells() -> None:
    script = jupytext.read(FOLDER / "mnist.py")
    assert [cell.source for cell in committed().cells] == [cell.source for cell in script.cells]


def test_what_is_committed_was_run_in_order_and_without_trouble() -> None:
    cells = [cell for cell in committed().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4


def test_it_says_nothing_of_the_machine_it_ran_on() -> None:
    text = (FOLDER / "mnist.ipynb").read_text(encoding="utf-8")
    assert str(Path.home()) not in text or Path.home() == Path("/")
    assert f"/{getpass.getuser()}/" not in text
    assert "/work" not in text
    assert len(text) < 700_000
