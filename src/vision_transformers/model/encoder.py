"""One block of the transformer: Equations 2 and 3."""

from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.kernels import narrow_encoder
from vision_transformers.model.normalization import LayerNorm
from vision_transformers.model.residual import LayerScale, StochasticDepth
from vision_transformers.model.rotary import Rotation


class Encoder(nn.Module):
    """Self-attention, then a feed-forward network, each behind a LayerNorm and added to its input.

    Args:
        model_dimension: width of a token.
        hidden_dimension: width inside the feed-forward network.
        number_of_heads: it divides model_dimension.
        dropout: on attention weights and in the feed-forward network, in training.
        attention: what stands for `MultiHeadAttention(model_dimension, number_of_heads, dropout)`.
        feed_forward: what stands for `FeedForward(model_dimension, hidden_dimension, dropout)`. Under
            autocast, both may be given tokens in the type that linear layers compute in.
        layer_scale: first value of a learned scale on each branch; none if not given.
        stochastic_depth: chance that an image skips a branch in training.
        normalization_epsilon: epsilon of both LayerNorms.

    Raises:
        ValueError: number_of_heads does not divide model_dimension.
    """

    def __init__(
        self,
        model_dimension: int,
        hidden_dimension: int,
        number_of_heads: int,
        dropout: float = 0.0,
        *,
        attention: nn.Module | None = None,
        feed_forward: nn.Module | None = None,
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        normalization_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(model_dimension, layer_scale)

        self.attention_normalization = LayerNorm(model_dimension, normalization_epsilon)
        if attention is None:
            attention = MultiHeadAttention(model_dimension, number_of_heads, dropout)
        self.attention = attention
        self.attention_scale = scale()
        self.feed_forward_normalization = LayerNorm(model_dimension, normalization_epsilon)
        if feed_forward is None:
            feed_forward = FeedForward(model_dimension, hidden_dimension, dropout)
        self.feed_forward = feed_forward
        self.feed_forward_scale = scale()
        self.stochastic_depth = StochasticDepth(stochastic_depth) if stochastic_depth else nn.Identity()

    def forward(
        self,
        input: Float[Tensor, "batch tokens model_dimension"],
        need_weights: bool = False,
        rotation: Rotation | None = None,
        number_of_queries: int | None = None,
    ) -> tuple[
        Float[Tensor, "batch queries model_dimension"], Float[Tensor, "batch heads queries tokens"] | None
    ]:
        """Equations 2 and 3; also the attention weights (before dropout) if they are needed, else None.

        Args:
            input: the tokens.
            need_weights: whether to give the attention weights.
            rotation: rotary positions of the patches.
            number_of_queries: how many tokens to compute, from the first; all if None. They attend to all.
        """
        is_usual = not need_weights and rotation is None and number_of_queries is None
        if is_usual and narrow_encoder.is_served(input, self):  # the same, in the cache of a CPU
            return narrow_encoder.encode(input, self), None
        attended, weights = self.attention(
            self.attention_normalization(input), need_weights, rotation, number_of_queries
        )
        sequence = input[:, :number_of_queries] + self.stochastic_depth(self.attention_scale(attended))
        transformed = self.feed_forward(self.feed_forward_normalization(sequence))
        return sequence + self.stochastic_depth(self.feed_forward_scale(transformed)), weights
