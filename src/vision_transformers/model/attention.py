"""Multi-head self-attention (appendix A, Equations 5 to 8)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization
from vision_transformers.model.fused_attention import fused_attention
from vision_transformers.model.kernels.tiled_linear import linear
from vision_transformers.model.plain import is_plain
from vision_transformers.model.rotary import Rotation, rotate
from vision_transformers.model.scaled_dot_product import attend, attention_weights


class MultiHeadAttention(nn.Module):
    """Every token gathers values from all tokens, weighted by how its query meets their keys.

    Args:
        model_dimension: width of a token.
        number_of_heads: it divides attention_dimension.
        dropout: on the attention weights, in training.
        attention_dimension: width of all heads together; model_dimension if not given.
        query_bias, key_bias, value_bias: whether each of the three has a bias.
        projection: whether a linear layer follows the joined heads (U_msa of Equation 8).
        projection_bias: whether that layer has a bias.
        query_key_normalization: whether queries and keys are normalised, each head by itself.
        normalization_epsilon: epsilon of those LayerNorms.

    Raises:
        ValueError: number_of_heads does not divide attention_dimension.
    """

    def __init__(
        self,
        model_dimension: int,
        number_of_heads: int,
        dropout: float = 0.0,
        *,
        attention_dimension: int | None = None,
        query_bias: bool = True,
        key_bias: bool = True,
        value_bias: bool = True,
        projection: bool = True,
        projection_bias: bool = True,
        query_key_normalization: bool = False,
        normalization_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        attention_dimension = attention_dimension or model_dimension
        if attention_dimension % number_of_heads:
            raise ValueError(
                f"number_of_heads is {number_of_heads}, which does not divide {attention_dimension}"
            )
        head_dimension = attention_dimension // number_of_heads
        self.number_of_heads = number_of_heads
        self.dropout = dropout
        self.query_key_value = _query_key_value(
            model_dimension, attention_dimension, (query_bias, key_bias, value_bias)
        )
        self.query_normalization: nn.Module = nn.Identity()
        self.key_normalization: nn.Module = nn.Identity()
        if query_key_normalization:
            self.query_normalization = nn.LayerNorm(head_dimension, normalization_epsilon)
            self.key_normalization = nn.LayerNorm(head_dimension, normalization_epsilon)
        self.projection: nn.Module = nn.Identity()
        if projection:
            self.projection = nn.Linear(attention_dimension, model_dimension, bias=projection_bias)
            initialization.linear_(self.projection)

    def forward(
        self,
        sequence: Float[Tensor, "batch tokens model_dimension"],
        need_weights: bool = False,
        rotation: Rotation | None = None,
        number_of_queries: int | None = None,
    ) -> tuple[
        Float[Tensor, "batch queries model_dimension"], Float[Tensor, "batch heads queries tokens"] | None
    ]:
        """Attends; returns the weights, before dropout and in the graph, only if they are needed.

        Args:
            sequence: the tokens.
            need_weights: False is the fused way; True computes and returns the weights explicitly.
            rotation: rotary positions of the patches.
            number_of_queries: how many tokens gather values, from the first; all if None.
        """
        dropout = self.dropout if self.training else 0.0
        if not (need_weights or dropout or self._changes_queries(rotation)):  # the same, in one go
            heads = self.number_of_heads
            attended = fused_attention(sequence, self.query_key_value, heads, number_of_queries)
            return linear(attended, self.projection), None
        query_key_value = linear(sequence, self.query_key_value).unflatten(2, (3, self.number_of_heads, -1))
        queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
        queries = rotate(self.query_normalization(queries), rotation)[:, :, :number_of_queries]
        keys = rotate(self.key_normalization(keys), rotation)
        if need_weights:
            weights = attention_weights(queries, keys)
            attended = F.dropout(weights, dropout) @ values
        else:
            weights = None
            attended = attend(queries, keys, values, dropout)
        return linear(attended.transpose(1, 2).flatten(2), self.projection), weights

    def _changes_queries(self, rotation: Rotation | None) -> bool:
        """Whether queries and keys meet otherwise than the linear layer gave them."""
        norms = (self.query_normalization, self.key_normalization)
        return rotation is not None or not all(is_plain(norm, nn.Identity) for norm in norms)


class PartlyBiasedLinear(nn.Linear):
    """One linear layer whose output is several equal parts, of which only some have a bias.

    Args:
        input_dimension: width of the input.
        part_dimension: width of each part of the output.
        biased: for each part, whether it has a bias; the stored bias holds those that have, in order.
    """

    def __init__(self, input_dimension: int, part_dimension: int, biased: tuple[bool, ...]) -> None:
        super().__init__(input_dimension, part_dimension * len(biased), bias=False)
        self.biased = biased
        self.bias = nn.Parameter(torch.zeros(part_dimension * sum(biased)))

    def forward(self, input: Float[Tensor, "... input_dimension"]) -> Float[Tensor, "... output_dimension"]:
        """The linear layer, with zeros for the biases that are not there."""
        biases = iter(self.bias.chunk(sum(self.biased)))
        nothing = self.bias.new_zeros(self.out_features // len(self.biased))
        bias = torch.cat([next(biases) if biased else nothing for biased in self.biased])
        return F.linear(input, self.weight, bias)


def _query_key_value(model_dimension: int, attention_dimension: int, biased: tuple[bool, ...]) -> nn.Linear:
    """U_qkv of Equation 5: queries, keys and values in one product."""
    layer: nn.Linear
    if any(biased) and not all(biased):
        layer = PartlyBiasedLinear(model_dimension, attention_dimension, biased)
    else:
        layer = nn.Linear(model_dimension, 3 * attention_dimension, bias=all(biased))
    initialization.linear_(layer, parts=3)
    return layer
