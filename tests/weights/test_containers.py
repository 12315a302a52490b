"""Of what a training script keeps beside a model, nothing is lost without a word."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise
from tests.weights.portable import outputs
from torch import Tensor, nn

from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import import_model
from vision_transformers.weights.foreign_files import open_foreign
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.huggingface import HUGGINGFACE
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.report import Report

timm = pytest.importorskip("timm", reason="timm is not installed")

SIZES: dict[str, Any] = {"img_size": 28, "patch_size": 14, "depth": 1}


class WithHead(nn.Module):
    """As people put a network of timm's under a head of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **SIZES)
        self.fc = nn.Linear(192, 3)


def left_out(report: Report) -> set[str]:
    return {name for change in report.left_out for name, _ in change.before.tensors}


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 1}])
def test_a_head_beside_the_network_is_not_lost_without_a_word(wrap: Any, tmp_path: Path) -> None:
    theirs = WithHead()
    randomise(theirs)
    torch.save(wrap(theirs.state_dict()), tmp_path / "theirs.pth")
    report = Report()
    found = import_model(tmp_path / "theirs.pth", TIMM, Given(), report)
    with pytest.raises(Failure, match=r"2 tensors would be left out:\n  fc\.weight\n  fc\.bias"):
        report.check(())
    report.check(("fc",))
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.model.eval()(images))


def test_a_head_of_the_same_name_beside_the_network_is_not_taken_for_its_own(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, **SIZES)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save(state | {"head.weight": torch.ones(3, 192), "head.bias": torch.ones(3)}, tmp_path / "a.pth")
    report = Report()
    assert not import_model(tmp_path / "a.pth", TIMM, Given(), report).description.model.number_of_classes
    assert left_out(report) == {"head.weight", "head.bias"}


def test_dinov3s_names_in_memory_are_read_though_a_part_is_called_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 2}
    config = transformers.DINOv3ViTConfig(**sizes, image_size=32, patch_size=8, num_register_tokens=2)
    theirs = transformers.DINOv3ViTModel(config)
    randomise(theirs)
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    report = Report()
    images, ours = outputs(import_model(tmp_path, HUGGINGFACE, Given(), report))
    assert not report.left_out
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images).pooler_output)


def states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, **SIZES)
    now = network.state_dict()
    return now, {name: value + 1 for name, value in now.items()}


def test_the_moving_average_is_read_and_the_report_says_so(tmp_path: Path) -> None:
    now, average = states()
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    averaged = {f"module.{name}": value for name, value in average.items()} | {"n_averaged": torch.tensor(3)}
    run = {"optimizer": optimizer, "rng_state": torch.get_rng_state(), "best_accuracy": torch.tensor(0.9)}
    file = {"model": now, "model_ema": averaged, "linear_head": {"weight": torch.ones(3, 3)}, **run}
    torch.save(file, tmp_path / "checkpoint.pth")
    report = Report()
    found = import_model(tmp_path / "checkpoint.pth", TIMM, Given(), report)
    assert torch.equal(found.weights["head.classifier.bias"], average["head.bias"])
    assert "model_ema is read, not model, which has the same tensors" in report.notes
    assert left_out(report) == {"linear_head.weight", "n_averaged"}


def test_a_checkpoint_of_lightnings_is_read(tmp_path: Path) -> None:
    """What it adds to a module's state, and a loss with weights."""
    now, _ = states()
    callbacks = {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}}
    module = {f"model._orig_mod.{name}": value for name, value in now.items()}
    file = {
        "state_dict": module | {"criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.5.0",
        "callbacks": callbacks,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "hyper_parameters": {"learning_rate": 1e-3},
    }
    torch.save(file, tmp_path / "last.ckpt")
    report = Report()
    found = import_model(tmp_path, TIMM, Given(), report)
    assert torch.equal(found.weights["head.classifier.weight"], now["head.weight"])
    assert left_out(report) == {"criterion.weight"}


@pytest.mark.parametrize("ending", [".pth.tar", ".ckpt"])
def test_weights_with_the_endings_of_training_scripts_are_found(ending: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.a": torch.ones(2)}}, tmp_path / f"last{ending}")
    assert list(open_foreign(tmp_path).tensors) == ["a"]


def test_what_timms_training_script_saves_says_its_architecture(tmp_path: Path) -> None:
    arguments = {"act_layer": "quick_gelu", **SIZES}
    theirs = timm.create_model("vit_xsmall_patch16_clip_224", num_classes=30, global_pool="avg", **arguments)
    randomise(theirs)
    options = {
        "model": "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m",
        "gp": "avg",
        "model_kwargs": arguments,
    }
    optimizer = torch.optim.AdamW(theirs.parameters())
    saver = timm.utils.CheckpointSaver(
        theirs, optimizer, argparse.Namespace(**options), checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, 0.5)
    report = Report()
    found = import_model(tmp_path / "last.pth.tar", TIMM, Given(), report)
    assert not report.left_out
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))
