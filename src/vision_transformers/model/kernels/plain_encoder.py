"""Whether an encoder is Equations 2 and 3 and nothing else, and the layers of such a one."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.normalization import LayerNorm
from vision_transformers.model.plain import is_plain

if TYPE_CHECKING:
    from vision_transformers.model.encoder import Encoder


@dataclass(frozen=True)
class PlainEncoder:
    """The layers that have weights, of an encoder for which `is_plain_encoder` holds."""

    attention_normalization: nn.LayerNorm
    feed_forward_normalization: nn.LayerNorm
    query_key_value: nn.Linear
    projection: nn.Linear
    input_layer: nn.Linear
    output_layer: nn.Linear
    number_of_heads: int

    @classmethod
    def of(cls, encoder: "Encoder") -> "PlainEncoder":
        """Without asking whether it is one."""
        attention: Any = encoder.attention
        feed_forward: Any = encoder.feed_forward
        return cls(
            encoder.attention_normalization,
            encoder.feed_forward_normalization,
            attention.query_key_value,
            attention.projection,
            feed_forward.input_layer,
            feed_forward.output_layer,
            attention.number_of_heads,
        )

    def layers(self) -> list[nn.LayerNorm | nn.Linear]:
        """In the order in which they stand above."""
        return [getattr(self, field.name) for field in fields(self)[:-1]]

    def weights(self) -> Iterator[Tensor]:
        """Of each layer, its weight and its bias."""
        for layer in self.layers():
            yield from (layer.weight, layer.bias)

    def fits_together(self) -> bool:
        """Whether widths are those of Equations 2 and 3, and heads as wide as a token together."""
        width, hidden = self.projection.out_features, self.input_layer.out_features
        expected = [(width,), (width,), (3 * width, width), (width, width), (hidden, width), (width, hidden)]
        return [tuple(layer.weight.shape) for layer in self.layers()] == expected


def is_plain_encoder(encoder: "Encoder") -> bool:
    """Whether all of it is of the usual kind, with biases, drops nothing, and nobody watches a part of it."""
    attention: Any = encoder.attention
    feed_forward: Any = encoder.feed_forward
    if not (is_plain(attention, MultiHeadAttention) and is_plain(feed_forward, FeedForward)):
        return False
    nothing = (
        encoder.attention_scale,
        encoder.feed_forward_scale,
        encoder.stochastic_depth,
        attention.query_normalization,
        attention.key_normalization,
    )
    norms = (encoder.attention_normalization, encoder.feed_forward_normalization)
    linear_layers = (
        attention.query_key_value,
        attention.projection,
        feed_forward.input_layer,
        feed_forward.output_layer,
    )
    return (
        all(is_plain(part, nn.Identity) for part in nothing)
        and all(is_plain(norm, LayerNorm) and norm.bias is not None for norm in norms)
        and all(is_plain(layer) and layer.bias is not None for layer in linear_layers)
        and is_plain(feed_forward.activation, nn.GELU)
        and feed_forward.activation.approximate == "none"
        and is_plain(feed_forward.dropout, nn.Dropout)
        and not (feed_forward.dropout.training and feed_forward.dropout.p)
        and not (attention.training and attention.dropout)
        and PlainEncoder.of(encoder).fits_together()
    )
