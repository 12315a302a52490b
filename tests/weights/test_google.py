"""Flax files of both of Google's projects are read as timm reads them, and written back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.weights import assert_same_outputs
from tests.weights.portable import check_round_trip, outputs, portable

from vision_transformers.errors import UsageFailure
from vision_transformers.weights.conversion import SIDECAR, export_model, import_model
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.google import GOOGLE
from vision_transformers.weights.report import Report

timm = pytest.importorskip("timm", reason="timm is not installed")

TANH: dict[str, Any] = {"activation": "gelu-tanh"}
MEAN: dict[str, Any] = TANH | {"class_token": False, "pool": "mean"}
OPTIONS: dict[str, dict[str, Any]] = {
    "class token": TANH,
    "class token without a position": TANH | {"prefix_positions": "none"},
    "mean": MEAN,
    "attention pool": TANH | {"class_token": False, "pool": "attention"},
    "sines and a pre-logits layer": MEAN | {"positions": "sine-cosine", "pre_logits_dimension": 12},
    "convolutional": TANH | {"patch_extractor": "convolutional"},
    "oblong": TANH | {"max_image_shape": (32, 48), "patch_shape": (8, 16)},
    "without a head": TANH | {"number_of_classes": 0},
}
SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 43 / 32,
    "num_classes": 5,
    "act_layer": "gelu_tanh",
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), GOOGLE, tmp_path / "model")


READ_BY_TIMM: dict[str, dict[str, Any]] = {
    "class token": {},
    "class token without a position": {"no_embed_class": True},
    "mean": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "attention pool": {"class_token": False, "global_pool": "map"},
    "convolutional": {},
    "oblong": {"img_size": (32, 48), "patch_size": (8, 16)},
}


def read_by_timm(folder: Path, arguments: dict[str, Any]) -> torch.nn.Module:
    """timm's model of these arguments, with the weights of a folder."""
    model: torch.nn.Module = timm.create_model("vit_base_patch16_224", **(SIZES | arguments))
    model.load_pretrained(str(folder / "model.npz"))
    return model.eval()


@pytest.mark.parametrize("name", list(READ_BY_TIMM))
def test_timm_reads_what_was_written_and_computes_the_same(name: str, tmp_path: Path) -> None:
    model = portable(**OPTIONS[name])
    export_model(tmp_path / "model", model, GOOGLE, Report())
    images, ours = outputs(model)
    with torch.no_grad():
        assert_same_outputs(ours, read_by_timm(tmp_path / "model", READ_BY_TIMM[name])(images))


def written(folder: Path, options: dict[str, Any]) -> dict[str, np.ndarray]:
    export_model(folder, portable(**options), GOOGLE, Report())
    with np.load(folder / "model.npz") as arrays:
        return dict(arrays)


def test_arrays_have_the_shapes_that_flax_asks_for(tmp_path: Path) -> None:
    """timm takes them in any shape of as many numbers, and Flax in this one alone."""
    arrays = written(tmp_path / "model", OPTIONS["oblong"])
    attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
    expected = {
        "embedding/kernel": (8, 16, 3, 32),
        f"{attention}/query/kernel": (32, 4, 8),
        f"{attention}/query/bias": (4, 8),
        f"{attention}/out/kernel": (4, 8, 32),
        "head/kernel": (32, 5),
    }
    assert {name: arrays[name].shape for name in expected} == expected


@pytest.mark.parametrize("prefix", ["opt/target/", "params/", "params/img/"])
def test_both_numberings_prefixes_and_scanned_files_are_the_same_model(prefix: str, tmp_path: Path) -> None:
    released = written(tmp_path / "model", TANH)
    expected = import_model(tmp_path / "model", GOOGLE, Given(), Report()).weights
    current = {}
    for name, array in released.items():
        for old, new in (
            ("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0"),
            ("MlpBlock_3", "MlpBlock_0"),
            ("LayerNorm_2", "LayerNorm_1"),
        ):
            name = name.replace(old, new)  # noqa: PLW2901
        current[prefix + name] = array
    blocks = {name.split("encoderblock_0/")[1] for name in released if "encoderblock_0/" in name}
    scanned = {name: array for name, array in released.items() if "encoderblock_" not in name}
    for rest in blocks:
        parts = [released[f"Transformer/encoderblock_{layer}/{rest}"] for layer in range(2)]
        scanned[f"Transformer/encoderblock/{rest}"] = np.stack(parts)
    for kind, arrays in (("current", current), ("scanned", scanned)):
        np.savez(tmp_path / f"{kind}.npz", **arrays)
        found = import_model(tmp_path / f"{kind}.npz", GOOGLE, Given(), Report()).weights
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_exact_gelu_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="google cannot express activation='gelu'"):
        export_model(tmp_path / "model", portable(), GOOGLE, Report())


def test_bfloat16_comes_and_goes(tmp_path: Path) -> None:
    model = portable(activation="gelu-tanh", position_resize="bilinear-aligned-corners")
    halves = replace(model, weights={name: value.bfloat16() for name, value in model.weights.items()})
    export_model(tmp_path / "model", halves, GOOGLE, Report())
    found = import_model(tmp_path / "model", GOOGLE, Given(), Report())
    assert all(torch.equal(found.weights[name], value) for name, value in halves.weights.items())


@pytest.mark.parametrize(("options", "crop"), [(TANH, "squash"), (MEAN, "center")])
def test_big_visions_means_of_patches_are_cropped(options: dict[str, Any], crop: str, tmp_path: Path) -> None:
    """Its configs of ImageNet evaluate `resize_small(256)|central_crop(224)`; vision_transformer squashes."""
    export_model(tmp_path / "model", portable(**options), GOOGLE, Report())
    (tmp_path / "model" / SIDECAR).unlink()
    found = import_model(tmp_path / "model", GOOGLE, Given(), Report()).description.preprocessing
    assert (found.crop, found.crop_fraction) == (crop, 0.875 if crop == "center" else 1.0)
