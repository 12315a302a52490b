"""Whether a layer does what its class does, and nothing else; and whether somebody watches it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def is_plain(layer: nn.Module, kind: type[nn.Module] = nn.Linear) -> bool:
    """Whether a layer is its weights and nothing else, so that they may be taken without calling it.

    Not where something is to happen when it is called: hooks, another forward, weights of their own kind.
    Hooks on all modules at once, as those of profilers, are to see what happens without them.

    Args:
        layer: of any class.
        kind: the class that it must be of, no subclass.
    """
    weights = [type(weight) for weight in layer._parameters.values() if weight is not None]
    are_plain = all(weight in (nn.Parameter, Tensor) for weight in weights)
    return type(layer) is kind and "forward" not in layer.__dict__ and not has_hooks(layer) and are_plain


def is_watched(module: nn.Module) -> bool:
    """Whether somebody is to be told when a module, or a part of it, is called.

    Hooks that are themselves a part of the model, such as those of low-rank matrices, tell nobody.
    """
    hooks = (hook for part in module.modules() for each in _hooks(part) for hook in each.values())
    return any(not getattr(hook, "is_part_of_the_model", False) for hook in hooks)


def has_hooks(module: nn.Module) -> bool:
    """Whether a module itself has hooks."""
    return any(_hooks(module))


def _hooks(module: nn.Module) -> tuple[dict[int, Callable[..., Any]], ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
