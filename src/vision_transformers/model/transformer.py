"""The stack of encoders: Equations 2 and 3 for every layer, and the LayerNorm of Equation 4."""

from collections.abc import Container, Iterable, Iterator

from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.encoder import Encoder
from vision_transformers.model.rotary import Rotation


class Transformer(nn.Module):
    """Encoders one after another, and a LayerNorm.

    Args:
        model_dimension: width of a token.
        hidden_dimension: width inside the feed-forward networks.
        number_of_layers: how many encoders.
        number_of_heads: it divides model_dimension.
        dropout: on attention weights and in the feed-forward networks, in training.
        layers: what stands for the encoders that the sizes above describe.
        normalization: what stands for the last LayerNorm.

    Raises:
        ValueError: number_of_heads does not divide model_dimension.
    """

    def __init__(
        self,
        model_dimension: int,
        hidden_dimension: int,
        number_of_layers: int,
        number_of_heads: int,
        dropout: float = 0.0,
        *,
        layers: Iterable[nn.Module] | None = None,
        normalization: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if layers is None:
            sizes = (model_dimension, hidden_dimension, number_of_heads, dropout)
            layers = (Encoder(*sizes) for _ in range(number_of_layers))
        self.layers = nn.ModuleList(layers)
        self.normalization = nn.LayerNorm(model_dimension, 1e-6) if normalization is None else normalization

    def forward(
        self,
        sequence: Float[Tensor, "batch tokens model_dimension"],
        need_weights: bool = False,
        rotation: Rotation | None = None,
        number_of_queries: int | None = None,
    ) -> tuple[
        Float[Tensor, "batch queries model_dimension"],
        list[Float[Tensor, "batch heads _ tokens"] | None],
    ]:
        """The normalised sequence after the last layer, and each layer's attention weights or None.

        Args:
            sequence: the tokens.
            need_weights: whether to give the attention weights.
            rotation: rotary positions of the patches.
            number_of_queries: how many tokens to give, from the first; all if None. The last layer
                computes no others.
        """
        attention_weights = []
        for number, layer in enumerate(self.layers, start=1):
            queries = number_of_queries if number == len(self.layers) else None
            sequence, weights = layer(sequence, need_weights, rotation, queries)
            attention_weights.append(weights)
        return self.normalization(sequence), attention_weights

    def states(
        self,
        sequence: Float[Tensor, "batch tokens model_dimension"],
        rotation: Rotation | None = None,
        weights_of: Container[int] = (),
    ) -> Iterator[
        tuple[
            Float[Tensor, "batch tokens model_dimension"],
            Float[Tensor, "batch heads tokens tokens"] | None,
        ]
    ]:
        """The sequence after each layer, not normalised, and the layer's attention weights or None.

        One layer after another: what comes after the last that is taken is not computed.

        Args:
            sequence: the tokens.
            rotation: rotary positions of the patches.
            weights_of: the layers, from 0, whose attention weights to give.
        """
        for number, layer in enumerate(self.layers):
            sequence, weights = layer(sequence, number in weights_of, rotation)
            yield sequence, weights
