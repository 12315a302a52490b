"""Random weights, and the same weights under another library's names."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def randomise(model: nn.Module) -> nn.Module:
    """Draws every parameter anew, so that none is at a value that hides a fault, such as a bias of 0."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("weight") and parameter.ndim > 1:
            noise *= 1.5 * parameter[0].numel() ** -0.5
        elif name.endswith(("weight", "scale")):
            noise = 1 + noise / 4
        else:
            noise /= 2
        parameter.data.copy_(noise)
    return model.eval()


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors under the names that a table of patterns gives them; every name must be in the table."""
    new_state = {}
    for name, tensor in state.items():
        matches = [(old, new) for old, new in names.items() if re.fullmatch(old, name)]
        assert len(matches) == 1, f"{name} is matched by {len(matches)} rows of the table"
        new_state[re.sub(*matches[0], name)] = tensor
    return new_state


def split_rows(state: Mapping[str, Tensor], joined: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors, those whose name holds `joined` cut into equal parts along their rows."""
    new_state = {}
    for name, tensor in state.items():
        if joined in name:
            for part, rows in zip(parts, tensor.chunk(len(parts)), strict=True):
                new_state[name.replace(joined, part)] = rows
        else:
            new_state[name] = tensor
    return new_state


def assert_same_outputs(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-5 of the largest output, which is above 1 so that this means something."""
    assert ours.shape == theirs.shape
    largest = theirs.abs().max()
    assert largest > 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * largest.item())
