"""Where in a model numbers stop being finite: for a person whose run stops because of it."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vision_transformers.config import first_of

NAMED = 3
"""How many weights an error names."""


def where_not_finite(model: nn.Module, parts: Iterable[Float[Tensor, "part channels height width"]]) -> str:
    """A sentence: which weights hold such numbers, or which part of the model is the first to give them.

    The parts of a batch are computed once more, without gradients; what is random, such as dropout, is drawn
    anew.
    """
    damaged = [name for name, value in model.named_parameters() if not _is_finite(value)]
    if damaged:
        return f"Of the weights, these hold numbers that are not finite: {first_of(damaged, NAMED)}."
    broken: list[tuple[str, float]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            hooks.callback(_watch(name or "the model", module, broken).remove)
        outputs = 0.0
        for images in parts:
            outputs = max(outputs, _largest(model(images)))
            if broken:
                name, inputs = broken[0]
                return f"{name} is the first to give such numbers, of inputs up to {inputs:.2g}."
    return f"The model's outputs, computed once more, are finite and up to {outputs:.2g}."


def _watch(name: str, module: nn.Module, broken: list[tuple[str, float]]) -> RemovableHandle:
    """Adds the module to the list when it gives what is not finite, and was given what is."""

    def check(_: nn.Module, inputs: tuple[object, ...], outputs: object) -> None:
        given, made = list(_tensors(inputs)), list(_tensors(outputs))
        if not all(map(_is_finite, made)) and all(map(_is_finite, given)):
            broken.append((name, max(map(_largest, given), default=0.0)))

    return module.register_forward_hook(check)


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


def _is_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _largest(values: Tensor) -> float:
    return float(values.detach().abs().max()) if values.numel() else 0.0
