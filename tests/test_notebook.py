"""The notebook runs from top to bottom, and what is committed is what it says and shows."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vision_transformers.data.places import data_folders
from vision_transformers.data.source import DataSource

jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

FOLDER = Path(__file__).parents[1] / "notebooks"
CODE = jupytext.read(FOLDER / "mnist.py")
COMMITTED = jupytext.read(FOLDER / "mnist.ipynb")
PICTURES = 5
RAW = Path("MNIST", "raw")


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def pictures(notebook: Any) -> list[Image.Image]:
    encoded = [
        output.data["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})
    ]
    return [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in encoded]


def texts(notebook: Any) -> list[str]:
    """Everything but the pictures that the outputs show."""
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs(notebook)
    ]
    return [*shown, *(str(output.get("traceback", "")) for output in outputs(notebook))]


def assert_is_clean(notebook: Any) -> None:
    """Neither errors nor warnings nor progress, and all pictures."""
    assert {output.output_type for output in outputs(notebook)} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []
    assert len(pictures(notebook)) == PICTURES


def write_few(raw: Path, few: Path) -> None:
    """MNIST's first images in MNIST's files, whose header's second word is how many there are."""
    few.mkdir(parents=True)
    for part, count in (("train", 6000), ("t10k", 300)):
        for kind, header, size in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
            name = f"{part}-{kind}-ubyte"
            content = (raw / name).read_bytes()[: header + count * size]
            (few / name).write_bytes(content[:4] + count.to_bytes(4, "big") + content[8:])


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few steps and images; whatever fails in a cell, or warns, fails here."""
    # Threads that wait for each other on a busy machine take many times as long as one.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = [folder / RAW for folder in data_folders(DataSource("mnist")) if (folder / RAW).is_dir()]
    if not found:
        pytest.skip("MNIST is not in $VISION_TRANSFORMERS_DATA")
    write_few(found[0], tmp_path / "data" / RAW)
    monkeypatch.setenv("VISION_TRANSFORMERS_DATA", str(tmp_path / "data"))
    notebook = jupytext.read(FOLDER / "mnist.py")
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\nsteps, precision, run_folder = 10, 'float32', {str(tmp_path / 'run')!r}"
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert_is_clean(notebook)
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_the_committed_file_has_the_cells_of_the_code() -> None:
    def cells(notebook: Any) -> list[tuple[str, str, list[str]]]:
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    assert cells(COMMITTED) == cells(CODE)


def test_the_committed_file_was_run_in_order() -> None:
    counts = [cell.execution_count for cell in COMMITTED.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_the_committed_outputs_are_clean_and_small() -> None:
    assert_is_clean(COMMITTED)
    assert all(picture.width <= 1200 for picture in pictures(COMMITTED))
    assert (FOLDER / "mnist.ipynb").stat().st_size < 600_000


def test_the_committed_outputs_are_of_a_full_run() -> None:
    """A reader would take the figures of a trial for what the model can do."""
    accuracy = re.search(r"test accuracy (\d+\.\d+)%", "\n".join(texts(COMMITTED)))
    assert accuracy is not None
    assert float(accuracy[1]) > 98


def test_no_path_of_the_machine_is_in_the_committed_outputs() -> None:
    paths = [
        path for text in texts(COMMITTED) for path in re.findall(r"(?<![\w.:/])(?:~|/\w)[^\s'\"]*/", text)
    ]
    assert paths == []
    assert COMMITTED.metadata.kernelspec.name == "python3"
