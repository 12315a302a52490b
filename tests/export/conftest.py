"""One export that several tests look at, since each takes seconds."""

from pathlib import Path

import pytest
from tests.commands import Vit
from tests.export.exported_models import cropping_classifier


@pytest.fixture(scope="session")
def exported(vit: Vit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and its `model.onnx`."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"needs {library}, of the extra `export`")
    folder = tmp_path_factory.mktemp("exported")
    cropping_classifier().save(folder / "model")
    finished = vit.run(folder, ["export", "model", "model.onnx"])
    assert finished.code == 0, finished.errors
    assert "10 pictures of random pixels" in finished.output
    return folder
