"""From the sequence to one vector: modules in front of the classifier.

Those that read the first tokens alone say how many: `tokens_read`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization
from vision_transformers.model.gathering import gather
from vision_transformers.model.plain import is_plain
from vision_transformers.model.scaled_dot_product import attend, attention_weights


def tokens_read(pool: nn.Module) -> int | None:
    """How many tokens a pool reads, from the first; None for all, or where its own class does not say."""
    return vars(type(pool)).get("tokens_read")


class FirstToken(nn.Module):
    """The class token: z_L^0 of Equation 4."""

    tokens_read = 1

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch model_dimension"]:
        """The first token."""
        return sequence[:, 0]


class FirstTwoTokens(nn.Module):
    """Class and distillation token, joined (DeiT, arXiv 2012.12877)."""

    tokens_read = 2

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch 2*model_dimension"]:
        """The first two tokens, one after the other."""
        return sequence[:, :2].flatten(1)


class Mean(nn.Module):
    """The mean of the tokens after the first `skipped` (appendix D.3: "global average-pooling").

    Args:
        skipped: tokens at the front that do not count: the prefix tokens, or none.
    """

    def __init__(self, skipped: int = 0) -> None:
        super().__init__()
        self.skipped = skipped

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch model_dimension"]:
        """The mean token."""
        return sequence[:, self.skipped :].mean(dim=1)


class FirstTokenAndMean(nn.Module):
    """The class token and the mean of the patches, joined (DINOv2's linear classifier, arXiv 2304.07193).

    Args:
        number_of_prefix_tokens: tokens that do not count for the mean.
    """

    def __init__(self, number_of_prefix_tokens: int = 1) -> None:
        super().__init__()
        self.mean = Mean(number_of_prefix_tokens)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch 2*model_dimension"]:
        """The first token, then the mean of the patches."""
        return torch.cat([sequence[:, 0], self.mean(sequence)], dim=1)


class AttentionPool(nn.Module):
    """A learned query attends to all tokens; a feed-forward network follows (SigLIP, arXiv 2303.15343).

    Args:
        model_dimension: width of a token.
        number_of_heads: it divides model_dimension.
        feed_forward: the network on the pooled vector.
        normalization_epsilon: epsilon of the LayerNorm before it.
    """

    def __init__(
        self,
        model_dimension: int,
        number_of_heads: int,
        feed_forward: nn.Module,
        normalization_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.number_of_heads = number_of_heads
        self.probe = nn.Parameter(torch.empty(1, 1, model_dimension))
        self.query = nn.Linear(model_dimension, model_dimension)
        self.key_value = nn.Linear(model_dimension, 2 * model_dimension)
        self.projection = nn.Linear(model_dimension, model_dimension)
        self.normalization = nn.LayerNorm(model_dimension, normalization_epsilon)
        self.feed_forward = feed_forward
        initialization.probe_(self.probe)
        initialization.linear_(self.query)
        initialization.linear_(self.key_value, parts=2)
        initialization.linear_(self.projection)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch model_dimension"]:
        """The pooled vector a + network(norm(a))."""
        query = self.query(self.probe.expand(sequence.shape[0], -1, -1))
        pooled = self.projection(self._gathered(query, sequence).flatten(1))
        return pooled + self.feed_forward(self.normalization(pooled))

    def _gathered(
        self,
        query: Float[Tensor, "batch 1 model_dimension"],
        sequence: Float[Tensor, "batch tokens model_dimension"],
    ) -> Float[Tensor, "batch 1 model_dimension"]:
        heads = self.number_of_heads
        if is_plain(self.key_value):
            key_weight, value_weight = self.key_value.weight.chunk(2)
            value_bias = self.key_value.bias.chunk(2)[1]
            return gather(query, sequence, key_weight, value_weight, value_bias, heads)
        keys, values = self.key_value(sequence).unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = attend(query.unflatten(2, (heads, -1)).transpose(1, 2), keys, values)
        return attended.transpose(1, 2).flatten(2)

    def weights(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch heads tokens"]:
        """How much the learned query attends to each token; sums to 1."""
        probe = self.probe.expand(sequence.shape[0], -1, -1)
        queries = self.query(probe).unflatten(2, (self.number_of_heads, -1)).transpose(1, 2)
        keys = self.key_value(sequence).chunk(2, dim=2)[0].unflatten(2, (self.number_of_heads, -1))
        return attention_weights(queries, keys.transpose(1, 2))[:, :, 0]
