"""Nobody changes how a model trains without noticing."""

import json

import pytest
from tests.training.golden_losses import GOLDEN, RECIPES, losses_of


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_losses_are_what_they_were(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    assert losses_of(RECIPES[name]) == pytest.approx(golden, rel=1e-4)
