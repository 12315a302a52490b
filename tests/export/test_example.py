"""What `examples/onnx_predict.py` says of photographs is what `vit predict` says, where there is no torch."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_images
from tests.classifiers import random_classifier
from tests.commands import Vit
from tests.photographs import noise

from vision_transformers.data.pictures import read_pictures
from vision_transformers.data.preprocessing import Preprocessing

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_predict.py"
WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "torchvision", "vision_transformers", "onnx"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of cameras that were held in every way, in colours and in grey; and what is half transparent."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(16):
        photograph = Image.fromarray(load_sample_images().images[number % 2]).resize((500, 375 - number // 2))
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number // 2 + 1
        photograph = photograph.convert("L") if number % 3 == 0 else photograph
        photograph.save(folder / f"{number:02}.jpg", exif=exif)
    Image.fromarray(noise(1, 80, 50, channels=4), "RGBA").save(folder / "see-through.png")
    return sorted(folder.iterdir())


def test_it_says_the_same_without_torch(vit: Vit, exported: Path, photographs: list[Path]) -> None:
    names = [str(path) for path in photographs]
    finished = vit.run(exported, ["predict", "model", *names, "--format", "jsonl", "--device", "cpu"])
    expected = [json.loads(line) for line in finished.output.splitlines()]
    found = [line.split("\t") for line in run_without_torch(str(exported / "model.onnx"), *names)]
    assert [(path, label) for path, label, _ in found] == [(row["path"], row["label"]) for row in expected]
    ours, theirs = ([float(p) for *_, p in found], [row["probability"] for row in expected])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    assert max(theirs) - min(theirs) > 0.1


def run_without_torch(*arguments: str) -> list[str]:
    """The lines that the example prints."""
    finished = start_without_torch(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def start_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The example, when it has ended."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_what_it_would_misread_is_refused(exported: Path, tmp_path: Path, mode: str) -> None:
    """Pillow alone makes all above 255 white."""
    picture = Image.fromarray(np.full((20, 20), 3000, np.uint16)).convert(mode)
    picture.save(tmp_path / "deep.tif")
    finished = start_without_torch(str(exported / "model.onnx"), str(tmp_path / "deep.tif"))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == f"{tmp_path / 'deep.tif'}: pictures of 8 bits a channel only\n"


def test_what_it_cannot_do_is_told(exported: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra `export`")
    assert "usage: " in start_without_torch(str(exported / "model.onnx")).stderr
    model = onnx.load(exported / "model.onnx")
    del model.graph.output[:2]
    (classes,) = (entry for entry in model.metadata_props if entry.key == "classes")
    classes.value = "[]"
    onnx.save(model, tmp_path / "headless.onnx")
    finished = start_without_torch(str(tmp_path / "headless.onnx"), "photograph.png")
    assert finished.stderr.endswith("headless.onnx has no classes: it gives features alone\n")
    assert finished.returncode == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"interpolation": "bicubic"},
        {"crop": "center", "crop_fraction": 0.9},
        {"crop": "center", "crop_fraction": 0.875, "crop_rounding": "down", "interpolation": "lanczos"},
        {"crop": "center", "channels": 1, "background": 90},
    ],
)
def test_its_pixels_are_those_of_this_library(changes: dict[str, Any], photographs: list[Path]) -> None:
    """To the last bit, with what the file's metadata say."""
    onnx_file = pytest.importorskip("vision_transformers.export.onnx_file", reason="needs the extra `export`")
    read_pixels: Callable[..., np.ndarray] = runpy.run_path(str(EXAMPLE))["read_pixels"]
    preprocessing = replace(Preprocessing((48, 63)), **changes)
    plain = random_classifier().description
    patches = {"patch_shape": (4, 3), "max_image_shape": (48, 63)}
    model = replace(plain.model, number_of_channels=preprocessing.channels, **patches)
    description = replace(plain, model=model, preprocessing=preprocessing)
    told = json.loads(json.dumps(onnx_file.metadata(description)))["preprocessing"]
    (expected,) = read_pictures(photographs, preprocessing, len(photographs), workers=0)
    for picture, path in zip(expected, photographs, strict=True):
        assert picture.pixels is not None
        np.testing.assert_array_equal(read_pixels(path, told), picture.pixels.numpy(), err_msg=path.name)
