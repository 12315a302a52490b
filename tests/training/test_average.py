"""The moving average that is judged and kept is the one that the recipe describes."""

import pytest
import torch
from torch import nn

from vision_transformers.training.average import MovingAverage


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_equals_its_formula(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    average = MovingAverage(model, decay)
    expected: dict[str, torch.Tensor] = {}
    for update in range(20):
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        average.update_parameters(model)
        part = min(decay, (1 + update) / (10 + update))
        for name, value in model.state_dict().items():
            new = value.double()
            expected[name] = part * expected[name] + (1 - part) * new if update else new
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_it_is_a_copy_that_is_not_trained() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    average = MovingAverage(model, 0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not any(module.training for module in average.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
