"""Low-rank adaptation (arXiv 2106.09685): small matrices beside layers that stay as they are."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.config import LowRankConfig

ATTENTION_PARTS = ("query", "key", "value")
"""In the order of the rows of the fused query_key_value."""
_INSIDE = ".low_rank."


class LowRank(nn.Module):
    """The change of a linear layer's output, scale * B A x (section 4.1), for some of its equal parts.

    A is drawn at random and B is zero: at first nothing changes.

    Args:
        layer: the linear layer beside which it stands.
        adapted: for each of the equal parts of its output, whether it is changed.
        rank: rows of A and columns of B, for each part.
        scale: what the change is multiplied by, alpha / rank.
    """

    def __init__(self, layer: nn.Linear, adapted: tuple[bool, ...], rank: int, scale: float) -> None:
        super().__init__()
        self.adapted = adapted
        self.scale = scale
        part_dimension = layer.out_features // len(adapted)
        self.down = nn.Parameter(layer.weight.new_empty(sum(adapted), rank, layer.in_features))
        self.up = nn.Parameter(layer.weight.new_zeros(sum(adapted), part_dimension, rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, input: Float[Tensor, "... inputs"]) -> Float[Tensor, "... outputs"]:
        """What is to be added to the layer's output."""
        inner = F.linear(input, self.down.flatten(0, 1)).chunk(len(self.down), dim=-1)
        changes = iter([F.linear(part, up) for part, up in zip(inner, self.up, strict=True)])
        nothing = inner[0].new_zeros(*input.shape[:-1], self.up.shape[1])
        parts = [next(changes) if adapted else nothing for adapted in self.adapted]
        return self.scale * torch.cat(parts, dim=-1)

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        """What is to be added to the layer's weight, for the same effect."""
        changes = iter(self.up @ self.down)
        nothing = torch.zeros_like(self.up[0] @ self.down[0])
        return self.scale * torch.cat([next(changes) if each else nothing for each in self.adapted])


def add_low_rank(layers: nn.ModuleList, config: LowRankConfig) -> None:
    """Dresses encoders with low-rank matrices; their own parameters keep their names.

    Args:
        layers: the encoders of a transformer.
        config: which of their linear layers, and how.

    Raises:
        ValueError: the rank is 0, or no layer has any of the parts, which is no adaptation; or the layers are
            dressed already.
    """
    if not config.rank:
        raise ValueError("low_rank.rank is 0, which is no adaptation: expected 1 or more")
    if _are_dressed(layers):
        raise ValueError("the layers have low-rank matrices already: merge them into the weights first")
    for layer in layers:
        if any(part in config.parts for part in ATTENTION_PARTS):
            adapted = tuple(part in config.parts for part in ATTENTION_PARTS)
            _dress(layer.get_submodule("attention.query_key_value"), adapted, config)
        if "projection" in config.parts:
            _dress(layer.get_submodule("attention.projection"), (True,), config)
        if "feed-forward" in config.parts:
            for child in layer.get_submodule("feed_forward").children():
                _dress(child, (True,), config)
    if not _are_dressed(layers):
        raise ValueError(f"low_rank.parts is {config.parts}: the model has no such linear layer")


def is_low_rank(name: str) -> bool:
    """Whether a parameter of that name is one of the added matrices."""
    return _INSIDE in name


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of the same model without low-rank matrices: each is added to the weight beside it."""
    state = model.state_dict()
    weights = {name: value for name, value in state.items() if not is_low_rank(name)}
    for name, module in model.named_modules():
        if isinstance(module, LowRank):
            weight = f"{name.removesuffix('.low_rank')}.weight"
            weights[weight] = state[weight] + module.matrix().detach()
    return weights


def unmerged_weights(model: nn.Module) -> dict[str, Tensor]:
    """What merging loses: the matrices, and the weights that they stand by; empty where there are none."""
    state = model.state_dict()
    return {
        name: value
        for name, value in state.items()
        if is_low_rank(name) or f"{name.removesuffix('weight')}low_rank.down" in state
    }


def _are_dressed(layers: nn.ModuleList) -> bool:
    return any(isinstance(module, LowRank) for module in layers.modules())


def _dress(layer: nn.Module, adapted: tuple[bool, ...], config: LowRankConfig) -> None:
    """What is no linear layer, as an activation or a projection that is left out, stays as it is."""
    if isinstance(layer, nn.Linear):
        layer.add_module("low_rank", LowRank(layer, adapted, config.rank, config.alpha / config.rank))
        layer.register_forward_hook(_add)


def _add(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    change: Tensor = layer.get_submodule("low_rank")(inputs[0])
    return output + change


_add.is_part_of_the_model = True  # type: ignore[attr-defined]
