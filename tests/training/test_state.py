"""The weights that a run ends with are those that the recipe chose."""

import pytest
import torch
from tests.training.recipes import everything, tiny
from torch import nn

from vision_transformers.training.recipe import Recipe
from vision_transformers.training.state import TrainingState, initial_state


def state_of(recipe: Recipe) -> TrainingState:
    return initial_state(recipe, recipe.model, torch.device("cpu"))


def fill(model: nn.Module, value: float) -> None:
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)


@pytest.mark.parametrize("recipe", [tiny(), everything()], ids=["weights", "moving average"])
def test_the_best_validated_weights_are_kept_and_of_equals_the_first(recipe: Recipe) -> None:
    state = state_of(recipe)
    for value, accuracy in enumerate((0.4, 0.6, 0.6, 0.5)):
        fill(state.judged, value)
        state.keep_if_best(accuracy)
    fill(state.judged, 9)
    assert state.best_accuracy == 0.6
    assert all(parameter.eq(1).all() for parameter in state.kept().parameters())
    assert all(parameter.eq(9).all() for parameter in state.judged.parameters()), "it goes on from the last"


def test_without_a_choice_the_last_judged_weights_are_kept() -> None:
    assert state_of(tiny()).kept() is not None
    state = state_of(everything())
    assert state.average is not None
    assert state.kept() is state.average.module


def test_the_beginning_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = state_of(tiny()).model.state_dict()
    torch.manual_seed(2)
    same, other = state_of(tiny()).model.state_dict(), state_of(tiny(seed=1)).model.state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
