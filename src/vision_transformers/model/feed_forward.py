"""The network of two layers that works on each token by itself (section 3.1: "MLP")."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization
from vision_transformers.model.kernels import narrow_feed_forward
from vision_transformers.model.kernels.biased_gelu import activated
from vision_transformers.model.kernels.tiled_linear import linear


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), the approximation that CLIP was trained with (arXiv 1606.08415, section 2)."""

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Each number by itself."""
        return input * torch.sigmoid(1.702 * input)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        model_dimension: width of a token.
        hidden_dimension: width between the two layers.
        dropout: after the activation and after the second layer, in training.
        activation: makes the module between the layers; exact GELU if not given.
    """

    def __init__(
        self,
        model_dimension: int,
        hidden_dimension: int,
        dropout: float = 0.0,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.input_layer = nn.Linear(model_dimension, hidden_dimension)
        self.activation = activation()
        self.output_layer = nn.Linear(hidden_dimension, model_dimension)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.input_layer, self.output_layer):
            initialization.linear_(layer)

    def forward(self, sequence: Float[Tensor, "... model_dimension"]) -> Float[Tensor, "... model_dimension"]:
        """Each token by itself."""
        parts = (self.input_layer, self.activation, self.output_layer, self.dropout)
        if narrow_feed_forward.is_served(sequence, *parts):  # the same, in the cache of a CPU
            return narrow_feed_forward.transform(sequence, self.input_layer, self.output_layer)
        hidden = self.dropout(activated(sequence, self.input_layer, self.activation))
        return self.dropout(linear(hidden, self.output_layer))


class SwiGLU(nn.Module):
    """A gated network: output(silu(gate(x)) * up(x)) (arXiv 2002.05202).

    Args:
        model_dimension: width of a token.
        hidden_dimension: width of the gate, and of what it lets through.
        dropout: after the product and after the output layer, in training.
    """

    def __init__(self, model_dimension: int, hidden_dimension: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate_up_layer = nn.Linear(model_dimension, 2 * hidden_dimension)
        self.output_layer = nn.Linear(hidden_dimension, model_dimension)
        self.dropout = nn.Dropout(dropout)
        initialization.linear_(self.gate_up_layer, parts=2)
        initialization.linear_(self.output_layer)

    def forward(self, sequence: Float[Tensor, "... model_dimension"]) -> Float[Tensor, "... model_dimension"]:
        """Each token by itself."""
        gate, up = linear(sequence, self.gate_up_layer).chunk(2, dim=-1)
        return self.dropout(linear(self.dropout(F.silu(gate) * up), self.output_layer))
