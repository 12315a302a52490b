"""Learned tokens in front of the sequence: x_class of Equation 1, and its kin."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization


class PrefixTokens(nn.Module):
    """Learned tokens, the same for every image, in front of the sequence.

    Registers (arXiv 2309.16588) and the distillation token (arXiv 2012.12877) are such tokens.

    Args:
        model_dimension: width of a token.
        number_of_tokens: how many.
    """

    def __init__(self, model_dimension: int, number_of_tokens: int = 1) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(1, number_of_tokens, model_dimension))
        initialization.token_(self.tokens)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch prefix_and_tokens model_dimension"]:
        """The learned tokens, then the sequence."""
        return torch.cat([self.tokens.expand(sequence.shape[0], -1, -1), sequence], dim=1)


class CLSToken(PrefixTokens):
    """The learned token whose last state is the image's representation (section 3.1, Equation 1).

    Args:
        model_dimension: width of a token.
    """

    def __init__(self, model_dimension: int) -> None:
        super().__init__(model_dimension, number_of_tokens=1)
