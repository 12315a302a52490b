"""A model that a format has no words for is rewritten to the same function, where that can be done."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import Vit
from tests.parity.weights import assert_same_outputs
from tests.weights.portable import check_reference, outputs, portable

from vision_transformers.errors import UsageFailure
from vision_transformers.weights.conversion import PortableModel, write_native
from vision_transformers.weights.format import Format
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.formats.torchvision import TORCHVISION
from vision_transformers.weights.report import Report
from vision_transformers.weights.rewrites import REWRITES, expressible

CASES: tuple[dict[str, Any], ...] = (
    {"query_bias": False},
    {"query_bias": False, "key_bias": False, "value_bias": False},
    {"key_bias": False, "patch_bias": False},
    {"attention_projection_bias": False},
    {"attention_projection": False},
    {"layer_scale": 0.5},
    {"layer_scale": 0.5, "attention_projection": False},
    {"layer_scale": 0.5, "attention_projection_bias": False},
    {"prefix_positions": "none"},
)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_same_function_for_torchvision(options: dict[str, Any], tmp_path: Path) -> None:
    model, report = portable(**options), Report()
    rewritten = expressible(model, TORCHVISION, report)
    expected = outputs(model)[1]
    with torch.no_grad():
        assert_same_outputs(expected, outputs(rewritten)[1])
    check_reference(rewritten, TORCHVISION, tmp_path / "torchvision")
    assert report.notes
    assert report.transformed


def test_what_a_format_can_say_is_not_rewritten() -> None:
    """timm has LayerScale, and a qkv layer without a bias."""
    model, report = portable(layer_scale=0.5, query_bias=False, key_bias=False, value_bias=False), Report()
    assert expressible(model, TIMM, report) is model
    assert report.notes == []


def test_registers_without_positions_get_zeros() -> None:
    for prefix_positions in ("none", "class"):
        model = portable(number_of_register_tokens=2, prefix_positions=prefix_positions)
        changed, options = REWRITES["prefix_positions"][1](model.weights, model.description.model)
        config = replace(model.description.model, **options)
        rewritten = PortableModel(
            {**model.weights, **changed}, replace(model.description, model=config), model.aside
        )
        assert_same_outputs(outputs(model)[1], outputs(rewritten)[1])


def test_what_cannot_be_rewritten_is_refused_by_name() -> None:
    with pytest.raises(UsageFailure, match="cannot express pool='mean'"):
        expressible(portable(pool="mean", layer_scale=0.5), TORCHVISION, Report())


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_a_stem_of_convolutions_is_refused_by_every_format(format: Format) -> None:
    """Else its convolutions would be left out in silence."""
    with pytest.raises(UsageFailure, match="cannot express patch_extractor='stem'"):
        expressible(portable(patch_extractor="stem"), format, Report())


def test_the_command_says_what_it_rewrote_and_verifies_it(vit: Vit, tmp_path: Path) -> None:
    write_native(tmp_path / "model", portable(layer_scale=0.5))
    command = ["convert", "model", "there", "--from", "native", "--to", "torchvision", "--verify"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    assert "note: LayerScale multiplied into the layers before it, which cannot be undone" in finished.output
    assert "torchvision computes the same" in finished.output
