"""Weights come from vit-pytorch and go to it, unchanged, and it computes the same with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise
from tests.weights.portable import VIT_PYTORCH_OPTIONS, check_reference, check_round_trip, outputs, portable

from vision_transformers.errors import UsageFailure
from vision_transformers.weights.conversion import export_model, import_model
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.vit_pytorch import VIT_PYTORCH
from vision_transformers.weights.report import Report

vit_pytorch = pytest.importorskip("vit_pytorch", reason="vit-pytorch is not installed")

OPTIONS: dict[str, dict[str, Any]] = {
    "ViT": VIT_PYTORCH_OPTIONS,
    "heads wider than the model": VIT_PYTORCH_OPTIONS | {"attention_dimension": 64},
    "one head, no projection": VIT_PYTORCH_OPTIONS | {"number_of_heads": 1, "attention_projection": False},
    "mean": VIT_PYTORCH_OPTIONS | {"class_token": False, "pool": "mean"},
    "SimpleViT": VIT_PYTORCH_OPTIONS
    | {
        "class_token": False,
        "pool": "mean",
        "positions": "sine-cosine",
        "attention_projection_bias": False,
    },
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_it_computes_the_same_from_what_was_written(options: dict[str, Any], tmp_path: Path) -> None:
    check_reference(portable(**options), VIT_PYTORCH, tmp_path / "model")


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), VIT_PYTORCH, tmp_path / "model")


@pytest.mark.parametrize("with_batch_axis", [False, True])
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_a_file_of_torch_save_is_read(pool: str, with_batch_axis: bool, tmp_path: Path) -> None:
    """Releases before 1.16.1 have an axis for the batch."""
    theirs = vit_pytorch.ViT(
        image_size=32,
        patch_size=8,
        num_classes=5,
        dim=32,
        depth=2,
        heads=4,
        mlp_dim=48,
        dim_head=8,
        pool=pool,
    )
    randomise(theirs)
    state = theirs.state_dict()
    if with_batch_axis:
        state |= {name: state[name][None] for name in ("cls_token", "pos_embedding")}
    torch.save(state, tmp_path / "vit.pt")
    found = import_model(tmp_path / "vit.pt", VIT_PYTORCH, Given(number_of_heads=4), Report())
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))


def test_what_vit_pytorch_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="vit-pytorch cannot express patch_normalization=False"):
        export_model(tmp_path / "model", portable(), VIT_PYTORCH, Report())


@pytest.mark.parametrize(("pool", "given"), [("cls", None), ("cls", "class"), ("mean", "mean-all")])
def test_a_class_token_of_old_releases_leaves_the_pool_open(pool: str, given: Any, tmp_path: Path) -> None:
    """Up to 1.15.7, `ViT(pool="mean")` has one, too, and averages it with the patches."""
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 2, "heads": 4}
    theirs = vit_pytorch.ViT(**sizes, mlp_dim=48, dim_head=8)
    theirs.pool = pool
    randomise(theirs)
    state = theirs.state_dict()
    state |= {name: state[name][None] for name in ("cls_token", "pos_embedding")}
    torch.save(state, tmp_path / "vit.pt")
    report = Report()
    found = import_model(tmp_path / "vit.pt", VIT_PYTORCH, Given(number_of_heads=4, pool=given), report)
    assert any("--pool mean-all" in note for note in report.notes) == (given is None)
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))
    with pytest.raises(UsageFailure, match="--pool attention is none of these weights"):
        import_model(tmp_path / "vit.pt", VIT_PYTORCH, Given(number_of_heads=4, pool="attention"), Report())
    assert VIT_PYTORCH.reference is not None
    if given == "mean-all":
        with pytest.raises(UsageFailure, match="no longer averages all tokens"):
            VIT_PYTORCH.reference(tmp_path / "vit.pt", found.description)


def test_without_a_head_there_is_nothing_to_verify(tmp_path: Path) -> None:
    """Its ViT then gives all tokens."""
    model = portable(**VIT_PYTORCH_OPTIONS, number_of_classes=0)
    export_model(tmp_path / "model", model, VIT_PYTORCH, Report())
    assert VIT_PYTORCH.reference is not None
    with pytest.raises(UsageFailure, match="nothing to verify features against"):
        VIT_PYTORCH.reference(tmp_path / "model", model.description)
