"""Weights out of the containers in which training scripts keep them, and what lies there beside them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
"""Under which names weights are kept; the first that is there is read."""
_WRAPPERS = ("module.", "_orig_mod.", "_checkpoint_wrapped_module.")
_OF_TRAINING = {"optimizer", "optimizers", "optim", "scheduler", "schedulers", "scaler", "amp"}
_OF_TRAINING |= {"rng", "random", "callbacks", "loops"}
"""Words in the names of a run's state, which is no part of a model."""


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    tensors: Mapping[str, Tensor]
    """The weights, out of their containers; nested dicts are flattened with dots."""
    beside: Mapping[str, Tensor]
    """Tensors outside of them, such as a head of the training script's own; no state of the run."""
    notes: tuple[str, ...] = ()
    """Which of several containers was taken."""


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that they had before parallelism and compilation."""
    return {_plain(name): tensor for name, tensor in tensors.items()}


def below(container: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with that of a container, without it."""
    prefix = f"{container}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def first_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """The first container with which any name begins."""
    return next((name for name in CONTAINERS if below(name, tensors)), None)


def unpacked(content: Mapping[Any, Any]) -> Contents:
    """The weights out of nested dicts.

    Args:
        content: tensors by name, dicts of them, and what is neither, such as an epoch.
    """
    opened = Contents({}, {})
    while (name := _first_dict(content)) is not None:
        of_model = {key: value for key, value in content.items() if not _is_of_training(key, value)}
        opened = _taken_out(name, dict(_flattened(of_model, "")), opened)
        content = content[name]
    return replace(opened, tensors=dict(_flattened(content, "")))


def apart(contents: Contents, recognises: Callable[[Mapping[str, Tensor]], bool]) -> Contents:
    """The weights out of a module that has them as one of its parts, where they are not recognised as it is.

    Args:
        contents: of a file.
        recognises: whether names are those of a model.
    """
    found = replace(contents, tensors=without_wrappers(contents.tensors))
    while not recognises(found.tensors):
        container = first_prefix(found.tensors)
        if container is None:
            return contents
        found = _taken_out(container, found.tensors, found)
    return found


def _taken_out(container: str, tensors: Mapping[str, Tensor], before: Contents) -> Contents:
    """What lies in a container; what lies beside it is added to what was there before."""
    inside = below(container, tensors)
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{container}.")}
    groups = {name.partition(".")[0] for name in others if "." in name}
    copies = sorted(group for group in groups if _shapes(below(group, others)) == _shapes(inside))
    notes = (f"{container} is read, not {' or '.join(copies)}, which has the same tensors",) if copies else ()
    beside = {name: tensor for name, tensor in others.items() if name.partition(".")[0] not in copies}
    return Contents(inside, {**before.beside, **beside}, (*before.notes, *notes))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Of all that are no single number, such as how many states an average is of."""
    return {_plain(name): tensor.shape for name, tensor in tensors.items() if tensor.ndim}


def _first_dict(content: Mapping[Any, Any]) -> str | None:
    """The first container that is a dict with tensors in it."""
    dicts = {name: content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)}
    return next((name for name, inside in dicts.items() if any(_flattened(inside, ""))), None)


def _is_of_training(name: Any, value: Any) -> bool:
    is_number = isinstance(value, Tensor) and value.numel() == 1  # such as the best loss
    return is_number or bool(_OF_TRAINING & set(re.split(r"[^a-z]+", str(name).lower())))


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _flattened(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors by dotted name; what is no tensor, such as an epoch, says nothing about the model."""
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
