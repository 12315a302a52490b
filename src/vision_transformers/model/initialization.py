"""How every parameter begins: one table, by the practice of the field.

| parameter                              | first value                                             |
| -------------------------------------- | ------------------------------------------------------- |
| learned tokens, positions              | normal, std 0.02, cut at 2 std                          |
| projection of patches                  | normal, std 1 / sqrt(inputs), cut at 2 std              |
| linear layers of attention and network | uniform, Glorot and Bengio 2010; q, k and v one by one  |
| classifier                             | normal, std 0.02, cut at 2 std                          |
| convolutions of a stem                 | normal, std sqrt(2 / inputs), He et al. 2015            |
| probe of the attention pool            | normal, std 1 / sqrt(model dimension), cut at 2 std     |
| every bias                             | 0                                                       |
| LayerNorm                              | weight 1, bias 0                                        |
| LayerScale                             | the value that is asked for                             |
"""

import math

from torch import Tensor, nn


def token_(parameter: Tensor) -> None:
    """Learned tokens and positions."""
    _cut_normal_(parameter, 0.02)


def probe_(parameter: Tensor) -> None:
    """The learned query of an attention pool, (1, 1, model dimension)."""
    _cut_normal_(parameter, parameter.shape[-1] ** -0.5)


def patch_projection_(layer: nn.Linear | nn.Conv2d) -> None:
    """A projection of patches: nearly keeps the variance of its pixels (0.77 of it: the normal is cut)."""
    _cut_normal_(layer.weight, layer.weight[0].numel() ** -0.5)
    _zero_bias_(layer)


def convolution_(layer: nn.Conv2d) -> None:
    """A convolution whose outputs go through an activation that keeps about half of them."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    _zero_bias_(layer)


def linear_(layer: nn.Linear, parts: int = 1) -> None:
    """A linear layer whose output is `parts` equal ones, each drawn as if it stood alone."""
    for weight in layer.weight.chunk(parts):
        bound = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
        nn.init.uniform_(weight, -bound, bound)
    _zero_bias_(layer)


def classifier_(layer: nn.Linear) -> None:
    """The last layer begins near zero, so that no class is preferred."""
    _cut_normal_(layer.weight, 0.02)
    _zero_bias_(layer)


def _cut_normal_(parameter: Tensor, std: float) -> None:
    nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)


def _zero_bias_(layer: nn.Linear | nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
