"""What is frozen stays to the bit, what is not is trained, and deeper layers learn faster where asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.recipes import tiny

from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.vit import ViT
from vision_transformers.recipes.table import RECIPES
from vision_transformers.training.advice import learning_rate_warnings
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Optimizer, Probe
from vision_transformers.training.state import initial_state
from vision_transformers.training.train import train
from vision_transformers.weights.conversion import read_native

pytestmark = pytest.mark.usefixtures("undrawn")

EMBEDDINGS = ("patches.", "prefix_tokens.", "positions.")
FIRST = (*EMBEDDINGS, "transformer.layers.0.")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ()),
        ({"frozen": "embeddings"}, EMBEDDINGS),
        ({"frozen_layers": 1}, FIRST),
        ({"frozen": "body"}, (*EMBEDDINGS, "transformer.")),
    ],
)
def test_what_is_frozen_stays_to_the_bit_and_the_rest_is_trained(
    changes: dict[str, Any], frozen: tuple[str, ...], optimizer: str, tmp_path: Path
) -> None:
    recipe = tiny(steps=3, optimizer=Optimizer(name=optimizer), **changes)  # type: ignore[arg-type]
    before = initial_state(recipe, recipe.model, torch.device("cpu")).model.state_dict()
    train(recipe, tmp_path / "run")
    after = read_native(tmp_path / "run" / "model").weights
    for name, value in before.items():
        assert torch.equal(after[name], value) == name.startswith(frozen or ("nothing",)), name


def test_more_layers_than_there_are_cannot_be_frozen_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="frozen_layers is 3: the model has 2 layers"):
        train(tiny(frozen_layers=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_encoder_learns_at_a_part_of_the_next_ones_rate(name: str) -> None:
    model = ViT.from_config(tiny().model)
    config = Optimizer(name=name, learning_rate=1.0, muon_learning_rate=1.0, layer_decay=0.5)  # type: ignore[arg-type]
    optimizers = Optimizers(model, config)
    rates = {
        optimizers.names[parameter]: group["lr"]
        for part in optimizers.parts
        for group in part.param_groups
        for parameter in group["params"]
    }
    assert rates.keys() == dict(model.named_parameters()).keys()
    expected = {
        **dict.fromkeys(EMBEDDINGS, 0.125),
        "transformer.layers.0.": 0.25,
        "transformer.layers.1.": 0.5,
    }
    for parameter, rate in rates.items():
        place = next((value for start, value in expected.items() if parameter.startswith(start)), 1.0)
        assert rate == place, parameter
    optimizers.step(0.5)
    assert all(group["lr"] <= 0.5 for part in optimizers.parts for group in part.param_groups)


@pytest.mark.parametrize(
    ("rate", "init", "warned"),
    [
        (1e-3, None, False),
        (0.1, None, True),
        (1e-7, None, True),
        (5e-3, "weights", True),
        (1e-4, "weights", False),
    ],
)
def test_a_learning_rate_far_from_usual_is_warned_of(rate: float, init: str | None, warned: bool) -> None:
    recipe = tiny(optimizer=Optimizer(learning_rate=rate), init=init)
    warnings = learning_rate_warnings(recipe)
    assert bool(warnings) == warned
    assert all("--optimizer.learning-rate" in warning and "usual" in warning for warning in warnings)


def test_the_probes_learning_rate_is_warned_of_too() -> None:
    (warning,) = learning_rate_warnings(tiny(probe=Probe(0.3, learning_rate=5.0)))
    assert warning.startswith("--probe.learning-rate is 5: for a head alone, ")
    assert learning_rate_warnings(tiny(probe=Probe(0.0, learning_rate=5.0))) == []


def test_a_rate_at_which_nothing_learns_is_not_warned_of() -> None:
    muon = Optimizer("muon", muon_learning_rate=9.0)
    assert len(learning_rate_warnings(tiny(optimizer=muon))) == 1
    for changes in ({"frozen": "body"}, {"frozen_layers": 2}, {"init": "x", "low_rank": LowRankConfig(2)}):
        assert learning_rate_warnings(tiny(optimizer=muon, **changes)) == []


def test_no_recipe_warns_of_itself() -> None:
    assert [name for name, recipe in RECIPES.items() if learning_rate_warnings(recipe())] == []


def test_a_decay_that_cannot_be_is_told() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.layer_decay is 1\.5"):
        Optimizer(layer_decay=1.5)
