"""Whether a layer does what its class does, and nothing else."""

from torch import Tensor, nn


def is_plain(layer: nn.Module, kind: type[nn.Module] = nn.Linear) -> bool:
    """Whether a layer is its weights and nothing else, so that they may be taken without calling it.

    Not where something is to happen when it is called: hooks, another forward, weights of their own kind.
    Hooks on all modules at once, as those of profilers, are to see what happens without them.

    Args:
        layer: of any class.
        kind: the class that it must be of, no subclass.
    """
    hooks = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
    )
    weights = [type(weight) for weight in layer._parameters.values() if weight is not None]
    are_plain = all(weight in (nn.Parameter, Tensor) for weight in weights)
    return type(layer) is kind and "forward" not in layer.__dict__ and not any(hooks) and are_plain
