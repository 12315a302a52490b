"""Who asks a model in between, as validation and explanations do, changes nothing of how it is trained."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vision_transformers.data.batches import Batch
from vision_transformers.evaluation.metrics import evaluate, outputs
from vision_transformers.model.evaluating import evaluating


def half_frozen() -> nn.Sequential:
    """In training, but for its norm, which someone holds as it is."""
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    model[1].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_each_module_is_put_back_into_its_own_mode() -> None:
    model = half_frozen()
    before = modes(model)
    with evaluating(model):
        assert not any(modes(model))
    assert modes(model) == before


def test_training_goes_on_as_it_was_after_a_batch_that_could_not_be_read() -> None:
    def broken() -> Iterator[Batch]:
        places = torch.tensor([0, 1])
        yield Batch(torch.randn(2, 1, 2, 2), places, places, torch.ones(2, dtype=torch.bool))
        raise OSError("a disk that is gone")

    model = half_frozen()
    before = modes(model)
    for ask in (lambda: evaluate(model, broken(), "float32"), lambda: outputs(model, broken())):
        with pytest.raises(OSError, match="a disk that is gone"):
            ask()
        assert modes(model) == before
