"""Multi-head self-attention (appendix A, Equations 5 to 8)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization, packed_attention
from vision_transformers.model.gathering import gather
from vision_transformers.model.plain import is_plain
from vision_transformers.model.rotary import Rotation, rotate
from vision_transformers.model.short_attention import is_served, short_attention

MOST_TOKENS_WRITTEN_OUT = 256
"""In bfloat16 on CPUs; with more, scores take much memory (`python -m benchmarks.attention_backends`)."""


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
        wanted: int | None = None,
    ) -> tuple[
        Float[Tensor, "batch wanted model_dimension"], Float[Tensor, "batch heads wanted tokens"] | None
    ]:
        """Attends; returns the weights, before dropout and in the graph, only if they are needed.

        Args:
            sequence: the tokens.
            need_weights: False is the fused way; True computes and returns the weights explicitly.
            rotation: rotary positions of the patches.
            wanted: how many tokens gather values, from the first; all if None.
        """
        dropout = self.dropout if self.training else 0.0
        may_be_fused = not (need_weights or dropout or self._changes_queries(rotation))
        if may_be_fused and (attended := self._attend_in_fewer_steps(sequence, wanted)) is not None:
            return self.projection(attended), None
        query_key_value = self.query_key_value(sequence).unflatten(2, (3, self.number_of_heads, -1))
        if may_be_fused and is_served(query_key_value):
            attended, _ = short_attention(query_key_value)  # the same, in the cache of a CPU
            return self.projection(attended[:, :wanted].flatten(2)), None
        queries, keys, values = (part.transpose(1, 2) for part in query_key_value.unbind(2))
        queries = rotate(self.query_normalization(queries), rotation)[:, :, :wanted]
        keys = rotate(self.key_normalization(keys), rotation)
        if need_weights:
            weights = attention_weights(queries, keys)
            attended = F.dropout(weights, dropout) @ values
        else:
            weights = None
            attended = attend(queries, keys, values, dropout)
        return self.projection(attended.transpose(1, 2).flatten(2)), weights

    def _attend_in_fewer_steps(
        self, sequence: Float[Tensor, "batch tokens model_dimension"], wanted: int | None
    ) -> Float[Tensor, "batch wanted attention_dimension"] | None:
        """The same, without keys and values, or all of it in a GPU's registers; None where neither goes."""
        if wanted is not None and is_plain(self.query_key_value):
            return self._gather(sequence, wanted)
        if wanted is None and packed_attention.is_served(
            sequence, self.query_key_value, self.number_of_heads
        ):
            return packed_attention.attend(sequence, self.query_key_value, self.number_of_heads)
        return None

    def _gather(
        self, sequence: Float[Tensor, "batch tokens model_dimension"], wanted: int
    ) -> Float[Tensor, "batch wanted attention_dimension"]:
        query_weight, key_weight, value_weight = self.query_key_value.weight.chunk(3)
        query_bias, value_bias = None, None
        if self.query_key_value.bias is not None:
            query_bias, _, value_bias = self.query_key_value.bias.chunk(3)
        queries = F.linear(sequence[:, :wanted], query_weight, query_bias)
        heads = self.number_of_heads
        return gather(queries, sequence, key_weight, value_weight, value_bias, heads)

    def _changes_queries(self, rotation: Rotation | None) -> bool:
        """Whether queries and keys meet otherwise than the linear layer gave them."""
        norms = (self.query_normalization, self.key_normalization)
        return rotation is not None or not all(is_plain(norm, nn.Identity) for norm in norms)


def attend(
    queries: Float[Tensor, "batch heads queries head_dimension"],
    keys: Float[Tensor, "batch heads keys head_dimension"],
    values: Float[Tensor, "batch heads keys head_dimension"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads queries head_dimension"]:
    """Equation 7 without keeping the weights: the values, weighted by `attention_weights`."""
    if _is_faster_written_out(queries, keys, values):
        return F.dropout(attention_weights(queries, keys), dropout) @ values
    return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)


def _is_faster_written_out(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """On CPUs, PyTorch's fused attention in bfloat16 takes many times as long backward as its products do."""
    is_bfloat16 = queries.dtype == keys.dtype == values.dtype == torch.bfloat16
    return queries.device.type == "cpu" and is_bfloat16 and keys.shape[2] <= MOST_TOKENS_WRITTEN_OUT


def attention_weights(
    queries: Float[Tensor, "batch heads queries head_dimension"],
    keys: Float[Tensor, "batch heads keys head_dimension"],
) -> Float[Tensor, "batch heads queries keys"]:
    """Equation 6: softmax(q k^T / sqrt(D_h)); each row sums to 1."""
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    return scores.softmax(dim=-1)


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

    def forward(self, input: Tensor) -> Tensor:
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
