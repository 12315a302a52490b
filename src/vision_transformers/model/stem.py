"""From an image to a sequence by convolutions, in place of the one linear layer of Equation 1."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, channels_last, nn

from vision_transformers.model import initialization
from vision_transformers.model.config import check_stem
from vision_transformers.model.normalization import LayerNorm
from vision_transformers.model.patches import check_channels, grid_shape


class ConvolutionalStem(nn.Module):
    """Convolutions that halve the image until one pixel is left of each patch, which becomes a token.

    The hybrid of section 3.1 in small, and nearly the stem of Xiao et al. (arXiv 2106.14881): tokens that
    know their surroundings from the start learn from fewer images. Each stage halves rows and columns and
    then looks around, and has twice the width of the one before, up to model_dimension. What a token sees
    lies around the middle of its patch.

    Args:
        model_dimension: width of a token.
        patch_shape: rows and columns of pixels in a patch: the same power of two, 2 or more.
        number_of_channels: channels of the image.
        bias: whether the projection to tokens has a bias; convolutions have none.
        normalization_epsilon: of every LayerNorm.

    Raises:
        ValueError: an image does not become patches of that shape by halving, or the width does not halve.
    """

    def __init__(
        self,
        model_dimension: int,
        patch_shape: tuple[int, int],
        number_of_channels: int,
        *,
        bias: bool = True,
        normalization_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        check_stem(patch_shape, model_dimension)
        self.patch_shape = patch_shape
        self.number_of_channels = number_of_channels
        stages = patch_shape[0].bit_length() - 1
        widths = [model_dimension >> (stages - 1 - stage) for stage in range(stages)]
        self.convolutions = nn.Sequential()
        for before, width in pairwise([number_of_channels, *widths]):
            halve = nn.Conv2d(before, width, kernel_size=4, stride=2, padding=1, bias=False)
            look_around = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
            for convolution in (halve, look_around):
                initialization.convolution_(convolution)
                normalization = ChannelNormalization(width, normalization_epsilon)
                self.convolutions.extend([convolution, normalization, nn.GELU()])
        self.projector = nn.Linear(model_dimension, model_dimension, bias=bias)
        initialization.patch_projection_(self.projector)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches model_dimension"]:
        """Patches in rows from the top left; each has also seen pixels around it.

        Raises:
            ValueError: the patch does not divide the image, or that has another number of channels.
        """
        check_channels(image, self.number_of_channels)
        grid_shape((image.shape[2], image.shape[3]), self.patch_shape)
        features = self.convolutions(image.contiguous(memory_format=channels_last))
        return self.projector(features.permute(0, 2, 3, 1).flatten(1, 2))


class ChannelNormalization(LayerNorm):
    """A LayerNorm over the channels of each pixel.

    Behind batch normalisation, tokens would depend on the other images of their batch.
    """

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The same shape."""
        return super().forward(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
