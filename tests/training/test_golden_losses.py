"""Nobody changes how a model trains without noticing."""

import json

import pytest
from tests.training.golden_losses import GOLDEN, RECIPES, first_weights, losses_of


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_losses_are_what_they_were(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    if first_weights() != pytest.approx(golden["first weights"]):
        pytest.skip("this PyTorch draws other first weights than the one that made golden.json")
    assert losses_of(RECIPES[name]) == pytest.approx(golden[name], rel=1e-4)
