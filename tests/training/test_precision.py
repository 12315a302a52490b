"""Nobody waits for bfloat16 that a processor only seems to have; who asks for it all the same is told."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.recipes import run_of, tiny

from vision_transformers.errors import UsageFailure
from vision_transformers.recipes.table import RECIPES
from vision_transformers.runtime import precision
from vision_transformers.runtime.precision import Precision, autocast, resolve_precision
from vision_transformers.training.advice import precision_warnings
from vision_transformers.training.muon import orthogonalised
from vision_transformers.training.run_folder import RunFolder, asked_otherwise
from vision_transformers.training.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False])
def has_instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(precision, "has_instructions", lambda name: request.param and name == "avx512_bf16")
    found: bool = request.param
    return found


@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16", "bfloat16-where-native"])
def test_a_cpu_computes_in_bfloat16_where_that_is_asked_for(asked: Precision, has_instructions: bool) -> None:
    wanted = asked == "bfloat16" or (asked == "bfloat16-where-native" and has_instructions)
    assert resolve_precision(asked, CPU) == ("bfloat16" if wanted else "float32")


@pytest.mark.parametrize("function", [resolve_precision, autocast])
def test_no_other_word_means_float32(function: Callable[[str, torch.device], object]) -> None:
    """Past the types that beartype checks, which nobody else's program checks."""
    with pytest.raises(UsageFailure, match="precision is 'bf16': did you mean 'bfloat16'"):
        inspect.unwrap(function)("bf16", CPU)


def test_each_gpu_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two may be older; the current one is the first."""
    capabilities = {torch.device("cuda:0"): (9, 0), torch.device("cuda:1"): (7, 5)}
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    found = [resolve_precision("auto", device) for device in capabilities]
    assert found == ["bfloat16", "float32"]


def test_no_recipe_makes_a_processor_emulate_it() -> None:
    assert all(make().precision != "bfloat16" for make in RECIPES.values())


def test_steps_are_made_orthogonal_in_what_is_quick(has_instructions: bool) -> None:
    found = orthogonalised(torch.randn(2, 8, 8))
    assert found.dtype == (torch.bfloat16 if has_instructions else torch.float32)


def test_who_asks_for_it_is_told(has_instructions: bool, tmp_path: Path) -> None:
    run = run_of(tiny(precision="bfloat16"), tmp_path)
    assert bool(precision_warnings(run)) != has_instructions
    assert not precision_warnings(run_of(tiny(precision="float32"), tmp_path / "other"))


@pytest.mark.parametrize("came_to", ["float32", "bfloat16"])
def test_a_run_is_resumed_by_what_leaves_it_to_the_machine(came_to: Precision, tmp_path: Path) -> None:
    """As a run of `vit train mnist` from before, when the recipe asked for bfloat16 on any CPU."""
    recipe = tiny(steps=1, precision=came_to)
    train(recipe, tmp_path / "run")
    record = RunFolder(tmp_path / "run").record()
    assert not asked_otherwise(record, replace(recipe, precision="bfloat16-where-native"))
    other: Precision = "float32" if came_to == "bfloat16" else "bfloat16"
    assert asked_otherwise(record, replace(recipe, precision=other))
