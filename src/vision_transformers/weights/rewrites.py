"""The same function in fewer options, for a format that cannot express the one that a model has."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.adaptation import with_stored_positions
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.format import CannotExpress, Format
from vision_transformers.weights.report import Report, Row

Weights = dict[str, Tensor]
Rewrite = Callable[[Weights, ViTConfig], tuple[Weights, dict[str, Any]]]
"""From weights to the tensors that change, and the options that then have other values."""


def expressible(model: PortableModel, format: Format, report: Report) -> PortableModel:
    """The model as a format can express it: the same outputs, though what was learned where may be lost.

    Positions that its library does not compute are stored, as if they were learned.

    Raises:
        UsageFailure: the format cannot express an option that no rewrite takes away; names it.
    """
    if model.description.model.positions not in format.computes_positions:
        model = with_stored_positions(model, report)
    while True:
        config = model.description.model
        try:
            format.check(config)
        except CannotExpress as refusal:
            if refusal.option not in REWRITES:
                raise
            what, rewrite = REWRITES[refusal.option]
            changed, options = rewrite(model.weights, config)
            if all(getattr(config, name) == value for name, value in options.items()):
                raise
            _enter(model.weights, changed, what, report)
            description = replace(model.description, model=replace(config, **options))
            model = PortableModel({**model.weights, **changed}, description, model.aside)
            model = _without_scales(model)
        else:
            return model


def _attention_biases(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    """Zeros where queries, keys or values have no bias."""
    options = {"query_bias": True, "key_bias": True, "value_bias": True}
    changed: Weights = {}
    for layer in range(config.number_of_layers):
        name = f"transformer.layers.{layer}.attention.query_key_value"
        weight = weights[f"{name}.weight"]
        zeros = weight.new_zeros(weight.shape[0] // 3)
        there = [getattr(config, option) for option in options]
        stored = iter(weights[f"{name}.bias"].chunk(sum(there)) if any(there) else ())
        changed[f"{name}.bias"] = torch.cat([next(stored) if each else zeros for each in there])
    return changed, options


def _patch_bias(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    zeros = weights["patches.projector.weight"].new_zeros(config.model_dimension)
    return {"patches.projector.bias": zeros}, {"patch_bias": True}


def _projection_bias(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    zeros = weights["patches.projector.weight"].new_zeros(config.model_dimension)
    names = (f"{_projection(layer)}.bias" for layer in range(config.number_of_layers))
    return {name: zeros.clone() for name in names}, {"attention_projection_bias": True}


def _identity_projection(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    like = weights["patches.projector.weight"]
    changed: Weights = {}
    for layer in range(config.number_of_layers):
        identity = torch.eye(config.model_dimension, dtype=like.dtype)
        changed[f"{_projection(layer)}.weight"] = identity
        changed[f"{_projection(layer)}.bias"] = like.new_zeros(config.model_dimension)
    return changed, {"attention_projection": True, "attention_projection_bias": True}


def _folded_scales(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    """LayerScale multiplied into the rows of the layer before it."""
    changed: Weights = {}
    options: dict[str, Any] = {"layer_scale": None}
    if not config.attention_projection:
        changed, more = _identity_projection(weights, config)
        options |= more
    for layer in range(config.number_of_layers):
        block = f"transformer.layers.{layer}"
        for linear, scale in (
            (f"{block}.attention.projection", "attention_scale"),
            (f"{block}.feed_forward.output_layer", "feed_forward_scale"),
        ):
            rows = weights[f"{block}.{scale}.scale"]
            for name in (f"{linear}.weight", f"{linear}.bias"):
                tensor = changed.get(name, weights.get(name))
                if tensor is not None:
                    changed[name] = rows.view(-1, *[1] * (tensor.ndim - 1)) * tensor
    return changed, options


def _prefix_positions(weights: Weights, config: ViTConfig) -> tuple[Weights, dict[str, Any]]:
    """Rows of zeros for prefix tokens that have no position.

    The class token comes first: formats with registers have a position for it alone.
    """
    table = weights["positions.position_embeddings"]
    there = config.number_of_prefix_positions
    class_first = config.class_token and config.number_of_prefix_tokens > 1 and not there
    with_position: Literal["class", "all"] = "class" if class_first else "all"
    missing = replace(config, prefix_positions=with_position).number_of_prefix_positions - there
    zeros = table.new_zeros(1, missing, table.shape[2])
    whole = torch.cat([table[:, :there], zeros, table[:, there:]], dim=1)
    return {"positions.position_embeddings": whole}, {"prefix_positions": with_position}


REWRITES: dict[str, tuple[str, Rewrite]] = {
    "query_bias": ("zeros for biases that are not there", _attention_biases),
    "key_bias": ("zeros for biases that are not there", _attention_biases),
    "value_bias": ("zeros for biases that are not there", _attention_biases),
    "patch_bias": ("zeros for a bias that is not there", _patch_bias),
    "attention_projection_bias": ("zeros for a bias that is not there", _projection_bias),
    "attention_projection": ("an identity for the projection that is not there", _identity_projection),
    "layer_scale": (
        "LayerScale multiplied into the layers before it, which cannot be undone",
        _folded_scales,
    ),
    "prefix_positions": ("zeros for the positions of prefix tokens that have none", _prefix_positions),
}
"""What takes an option away, and what the report says of it."""


def _projection(layer: int) -> str:
    return f"transformer.layers.{layer}.attention.projection"


def _without_scales(model: PortableModel) -> PortableModel:
    """Drops scales that were multiplied into other tensors."""
    if model.description.model.layer_scale is not None:
        return model
    weights = {name: value for name, value in model.weights.items() if not name.endswith("_scale.scale")}
    return PortableModel(weights, model.description, model.aside)


def _enter(before: Weights, changed: Weights, what: str, report: Report) -> None:
    """In the report: the tensors that are made or changed."""
    there = [name for name in changed if name in before]
    old = Row.of(there, [before[name] for name in there])
    report.add("transformed", old, Row.of(list(changed), list(changed.values())), what)
    if what not in report.notes:
        report.notes.append(what)
