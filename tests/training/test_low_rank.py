"""Runs that learn low-rank matrices, begin with the head alone, or learn at another size than the source."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import Vit
from tests.training.recipes import run_of, tiny
from tests.training.runs import result

from vision_transformers.classifier import load
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.model.config import LowRankConfig
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.recipe import Optimizer, Probe, Recipe, Schedule
from vision_transformers.training.train import resume, train
from vision_transformers.weights.conversion import read_native
from vision_transformers.weights.low_rank_folder import merge_low_rank
from vision_transformers.weights.report import Report

pytestmark = pytest.mark.usefixtures("undrawn")

EVERYWHERE = LowRankConfig(2, parts=("query", "key", "value", "projection", "feed-forward"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits."""
    folder = tmp_path_factory.mktemp("source") / "run"
    train(tiny(steps=60), folder)
    return folder


def adapted(source: Path, **changes: Any) -> Recipe:
    return tiny(init=str(source), low_rank=EVERYWHERE, **{"steps": 20, **changes})


class StopsAfter(Silent):
    """Interrupts after so many steps, one checkpoint each."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def stepped(self, report: StepReport) -> None:
        if report.step == self.steps:
            raise KeyboardInterrupt


def test_a_run_leaves_a_plain_model_and_the_matrices_alone(source: Path, tmp_path: Path) -> None:
    """The plain model is what merging gives, to the bit; and the matrices have learned."""
    trained = train(adapted(source), tmp_path / "run")
    merged = merge_low_rank(read_native(source / "model"), tmp_path / "run" / "low-rank", Report())
    ours = read_native(tmp_path / "run" / "model")
    assert merged.weights.keys() == ours.weights.keys()
    assert all(torch.equal(merged.weights[name], value) for name, value in ours.weights.items())
    begun = read_native(source / "model").weights
    changed = {name for name, value in begun.items() if not torch.equal(value, ours.weights[name])}
    assert changed == {
        name
        for name in begun
        if name.startswith("head.")
        or (".layers." in name and name.endswith("weight") and "normalization" not in name)
    }
    head_alone = train(replace(adapted(source), low_rank=LowRankConfig(), frozen="body"), tmp_path / "head")
    assert trained.metrics["train_loss"] < head_alone.metrics["train_loss"]
    small = (tmp_path / "run" / "low-rank" / "low-rank.safetensors").stat().st_size
    assert small < (tmp_path / "run" / "model" / "model.safetensors").stat().st_size
    assert load(tmp_path / "run", device="cpu").classes == load(source, device="cpu").classes


def test_a_moving_average_and_the_best_weights_are_merged_too(source: Path, tmp_path: Path) -> None:
    train(adapted(source, average_decay=0.9, keep="best"), tmp_path / "run")
    merged = merge_low_rank(read_native(source / "model"), tmp_path / "run" / "low-rank", Report())
    ours = read_native(tmp_path / "run" / "model").weights
    assert all(torch.equal(merged.weights[name], value) for name, value in ours.items())


def test_a_rank_beyond_the_width_of_the_model_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match=r"low_rank\.rank is 9999, more than the model's width of \d+"):
        train(replace(adapted(source), low_rank=LowRankConfig(rank=9999)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_with_matrices_resumes_to_the_same_bytes(source: Path, tmp_path: Path, after: int) -> None:
    recipe = adapted(
        source, steps=6, checkpoint_steps=1, average_decay=0.9, optimizer=Optimizer("muon", layer_decay=0.8)
    )
    train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "stopped", StopsAfter(after))
    resume(tmp_path / "stopped")
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")
    matrices = [tmp_path / name / "low-rank" / "low-rank.safetensors" for name in ("stopped", "whole")]
    assert matrices[0].read_bytes() == matrices[1].read_bytes()


def test_the_model_in_a_checkpoint_is_the_merged_one(source: Path, tmp_path: Path) -> None:
    train(adapted(source, steps=4), tmp_path / "run")
    ours = read_native(tmp_path / "run" / "model").weights
    saved = read_native(tmp_path / "run" / "checkpoints" / "step-00000004" / "model").weights
    assert all(torch.equal(saved[name], value) for name, value in ours.items())


def test_matrices_are_refused_beside_other_weights(source: Path, tmp_path: Path) -> None:
    train(adapted(source, steps=2), tmp_path / "run")
    train(tiny(seed=1), tmp_path / "other")
    with pytest.raises(UsageFailure, match=r"was learned beside other weights: give those of .*run"):
        merge_low_rank(read_native(tmp_path / "other" / "model"), tmp_path / "run" / "low-rank", Report())
    with pytest.raises(UsageFailure, match=r"holds no low-rank matrices"):
        merge_low_rank(read_native(source / "model"), tmp_path / "run" / "model", Report())
    file = tmp_path / "run" / "low-rank" / "low-rank.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(Failure, match="not a whole safetensors file"):
        merge_low_rank(read_native(source / "model"), tmp_path / "run" / "low-rank", Report())


def test_the_command_learns_and_merges_them(vit: Vit, source: Path, tmp_path: Path) -> None:
    command = ["train", "digits", "--init", str(source), "--init-image-shape", "16", "16", "--steps", "2"]
    command += ["--low-rank.rank", "2", "--low-rank.parts", "query", "value", "--run-folder", "run"]
    finished = vit.run(tmp_path, command)
    assert finished.code == 0, finished.errors
    merge = [
        "convert",
        str(source),
        "merged",
        "--from",
        "native",
        "--to",
        "native",
        "--low-rank",
        "run/low-rank",
    ]
    finished = vit.run(tmp_path, merge)
    assert finished.code == 0, finished.errors
    ours, merged = (read_native(tmp_path / name) for name in ("run/model", "merged"))
    assert merged.description == ours.description
    assert merged.description.preprocessing.size == (16, 16)
    assert all(torch.equal(merged.weights[name], value) for name, value in ours.weights.items())


def test_first_the_head_alone_then_all(source: Path, tmp_path: Path) -> None:
    recipe = tiny(init=str(source), steps=8, probe=Probe(0.5), checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", StopsAfter(5))
    checkpoints = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    before, probed = (read_native(folder / "model").weights for folder in (source, checkpoints[-1]))
    assert checkpoints[-1].name == "step-00000004"
    for name, value in before.items():
        assert torch.equal(probed[name], value) == (not name.startswith("head.")), name
    resume(tmp_path / "run")
    train(recipe, tmp_path / "whole")
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    after = read_native(tmp_path / "run" / "model").weights
    assert not any(torch.equal(after[name], value) for name, value in probed.items())


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_all_learn_after_the_head_where_the_model_is_compiled(vit: Vit, source: Path, tmp_path: Path) -> None:
    """PyTorch 2.10 goes on with the gradients that it compiled first."""
    options = "--steps 2 --probe.fraction 0.5 --compile on --threads 1 --device cpu --run-folder run"
    finished = vit.run(tmp_path, ["train", "digits", "--init", str(source), *options.split(" ")])
    assert finished.code == 0, finished.errors
    before, after = (read_native(folder / "model").weights for folder in (source, tmp_path / "run"))
    assert not any(torch.equal(after[name], value) for name, value in before.items())


def test_the_schedule_begins_anew_after_the_probe(tmp_path: Path) -> None:
    recipe = tiny(
        steps=10,
        probe=Probe(0.4, learning_rate=0.02),
        optimizer=Optimizer(learning_rate=0.01),
        schedule=Schedule("linear", warmup=0.0),
    )
    run = run_of(recipe, tmp_path)
    rates = [run.rate_at(step) for step in range(10)]
    assert rates == pytest.approx([2.0, 1.5, 1.0, 0.5, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_another_size_patch_and_channels_than_the_sources(source: Path, tmp_path: Path) -> None:
    recipe = tiny(init=str(source), init_image_shape=(12, 18), init_patch_shape=(6, 6), init_channels=3)
    train(recipe, tmp_path / "run")
    description = read_native(tmp_path / "run" / "model").description
    assert (description.model.max_image_shape, description.model.patch_shape) == ((12, 18), (6, 6))
    assert (description.preprocessing.size, description.preprocessing.channels) == ((12, 18), 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"low_rank": EVERYWHERE},
        {"init_image_shape": (16, 16)},
        {"init": "x", "low_rank": EVERYWHERE, "frozen": "body"},
        {"init": "x", "low_rank": EVERYWHERE, "probe": Probe(0.5)},
    ],
)
def test_what_contradicts_itself_is_told(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"low_rank|init"):
        tiny(**changes)
