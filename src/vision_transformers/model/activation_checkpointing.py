"""Activation checkpointing: less memory in training, for a second forward pass (arXiv 1604.06174)."""

import copyreg
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
            layer.__class__ = _checkpointed(kind)


class _Checkpointed(nn.Module):
    """Goes in front of a layer's class."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the layer gives."""
        return checkpoint(super().forward, *arguments, use_reentrant=False, **options)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}
"""One for each kind of layer."""


def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of dressed layers of a kind; pickle and copy make them from the kind, which has a name."""
    if kind not in _CLASSES:
        made = type(f"Checkpointed{kind.__name__}", (_Checkpointed, kind), {})
        copyreg.pickle(made, lambda layer: (_new, (kind,), *layer.__reduce_ex__(2)[2:]))
        _CLASSES[kind] = made
    return _CLASSES[kind]


def _new(kind: type[nn.Module]) -> nn.Module:
    """Without anything in it yet, as pickle asks."""
    made = _checkpointed(kind)
    return made.__new__(made)
