"""The LayerNorm of a block (LN in Equations 2 and 3), and of a stem."""

from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model.kernels import layer_norm


class LayerNorm(nn.LayerNorm):
    """Each token less its mean, over its standard deviation, scaled and shifted (arXiv 1607.06450).

    As in PyTorch, but that under autocast tokens may come out in the type in which linear layers and
    convolutions compute: these would round them to it.
    """

    def forward(self, input: Float[Tensor, "... model_dimension"]) -> Float[Tensor, "... model_dimension"]:
        """Each token by itself."""
        if layer_norm.is_served(input, self):
            return layer_norm.normalize(input, self)
        return super().forward(input)
