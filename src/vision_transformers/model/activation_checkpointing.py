"""Activation checkpointing: less memory in training, for a second forward pass (arXiv 1604.06174)."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(layers: Iterable[nn.Module]) -> None:
    """From now on each layer keeps its input alone, and computes again what its gradient needs.

    Values and gradients stay the same, with dropout, too: its random numbers are drawn again from where they
    began. Each layer becomes a subclass of its class; parameters, names and hooks stay.

    Args:
        layers: the encoders of a transformer. Those that are dressed so already stay as they are.
    """
    for layer in layers:
        kind = type(layer)
        if not issubclass(kind, _Checkpointed):
            layer.__class__ = type(f"Checkpointed{kind.__name__}", (_Checkpointed, kind), {})


class _Checkpointed(nn.Module):
    """Goes in front of a layer's class."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the layer gives."""
        return checkpoint(super().forward, *arguments, use_reentrant=False, **options)
