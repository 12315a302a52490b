"""From an image to a sequence: the patch embedding x_p E of Equation 1."""

from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization


def grid_shape(image_shape: tuple[int, int], patch_shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in an image.

    Args:
        image_shape: rows and columns of pixels.
        patch_shape: rows and columns of pixels in a patch.

    Raises:
        ValueError: the patch does not divide the image; names the two nearest sizes that work.
    """
    rows, columns = (
        _number_along(size, patch, axis)
        for size, patch, axis in zip(image_shape, patch_shape, ("height", "width"), strict=True)
    )
    return rows, columns


def number_of_patches(image_shape: tuple[int, int], patch_shape: tuple[int, int]) -> int:
    """The paper's N = HW / P^2; arguments and errors as in `grid_shape`."""
    rows, columns = grid_shape(image_shape, patch_shape)
    return rows * columns


def _number_along(size: int, patch: int, axis: str) -> int:
    if size % patch or size < patch:
        below = size // patch * patch
        nearest = f"{below} or {below + patch}" if below else f"{patch} or {2 * patch}"
        raise ValueError(
            f"image {axis} {size} is not a multiple of the patch's {patch} pixels: the nearest are {nearest}"
        )
    return size // patch


def check_images(image: Tensor) -> None:
    """Raises ValueError where it is no batch of images, or one of whole numbers, as pixels of files are."""
    if image.ndim != 4:
        raise ValueError(
            f"the images have the shape {tuple(image.shape)}: expected (batch, channels, height, width); "
            "a batch of one image is image.unsqueeze(0)"
        )
    if not image.is_floating_point():
        raise ValueError(
            f"the images are {image.dtype}: expected floats, normalised as the model was trained, "
            "which a classifier's inputs(...) are"
        )


def check_channels(image: Float[Tensor, "batch channels height width"], number_of_channels: int) -> None:
    """Raises ValueError where images have another number of channels."""
    if image.shape[1] != number_of_channels:
        raise ValueError(f"the images have {image.shape[1]} channels: expected {number_of_channels}")


class LinearFeatureExtractor(nn.Module):
    """Cuts the image into patches and projects each with one linear layer (section 3.1, Equation 1).

    Args:
        model_dimension: width of a token.
        patch_shape: rows and columns of pixels in a patch.
        number_of_channels: channels of the image.
        bias: whether the projection has a bias.
        normalize: whether LayerNorms stand before and after the projection.
        normalization_epsilon: their epsilon.
    """

    def __init__(
        self,
        model_dimension: int,
        patch_shape: tuple[int, int],
        number_of_channels: int,
        *,
        bias: bool = True,
        normalize: bool = False,
        normalization_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.patch_shape = patch_shape
        self.number_of_channels = number_of_channels
        patch_dimension = patch_shape[0] * patch_shape[1] * number_of_channels
        self.patch_normalization = (
            nn.LayerNorm(patch_dimension, normalization_epsilon) if normalize else nn.Identity()
        )
        self.projector = nn.Linear(patch_dimension, model_dimension, bias=bias)
        self.token_normalization = (
            nn.LayerNorm(model_dimension, normalization_epsilon) if normalize else nn.Identity()
        )
        initialization.patch_projection_(self.projector)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches model_dimension"]:
        """Patches in rows from the top left.

        Raises:
            ValueError: the patch does not divide the image, or that has another number of channels.
        """
        check_channels(image, self.number_of_channels)
        return self.token_normalization(self.projector(self.patch_normalization(self.patches(image))))

    def patches(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches patch_dimension"]:
        """The paper's x_p: each patch flat, in the order (row in patch, column in patch, channel)."""
        batch, channels, height, width = image.shape
        patch_height, patch_width = self.patch_shape
        rows, columns = grid_shape((height, width), self.patch_shape)
        blocks = image.reshape(batch, channels, rows, patch_height, columns, patch_width)
        return blocks.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def to_convolutional(self) -> "ConvolutionalFeatureExtractor":
        """The same function as a convolution, with copies of the parameters.

        Raises:
            ValueError: it has LayerNorms, which a convolution cannot express.
        """
        if not isinstance(self.patch_normalization, nn.Identity):
            raise ValueError("an extractor with LayerNorms around its projection has no convolutional form")
        weight = self.projector.weight
        height, width = self.patch_shape
        channels = weight.shape[1] // (height * width)
        extractor = ConvolutionalFeatureExtractor(
            weight.shape[0], self.patch_shape, channels, bias=self.projector.bias is not None
        ).to(weight.device, weight.dtype)
        kernels = weight.detach().reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        _copy(extractor.projector, kernels, self.projector.bias)
        return extractor


class ConvolutionalFeatureExtractor(nn.Module):
    """The same projection as one convolution whose kernel and stride are the patch.

    Args:
        model_dimension: width of a token.
        patch_shape: rows and columns of pixels in a patch.
        number_of_channels: channels of the image.
        bias: whether the projection has a bias.
    """

    def __init__(
        self,
        model_dimension: int,
        patch_shape: tuple[int, int],
        number_of_channels: int,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.patch_shape = patch_shape
        self.number_of_channels = number_of_channels
        self.projector = nn.Conv2d(number_of_channels, model_dimension, patch_shape, patch_shape, bias=bias)
        initialization.patch_projection_(self.projector)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches model_dimension"]:
        """Patches in rows from the top left.

        Raises:
            ValueError: the patch does not divide the image, or that has another number of channels.
        """
        check_channels(image, self.number_of_channels)
        grid_shape((image.shape[2], image.shape[3]), self.patch_shape)
        return self.projector(image).flatten(2).transpose(1, 2)

    def to_linear(self) -> LinearFeatureExtractor:
        """The same function as a linear layer on flat patches, with copies of the parameters."""
        kernels = self.projector.weight
        extractor = LinearFeatureExtractor(
            kernels.shape[0], self.patch_shape, kernels.shape[1], bias=self.projector.bias is not None
        ).to(kernels.device, kernels.dtype)
        _copy(extractor.projector, kernels.detach().permute(0, 2, 3, 1).flatten(1), self.projector.bias)
        return extractor


def _copy(projector: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
    projector.weight.data.copy_(weight)
    if bias is not None and projector.bias is not None:
        projector.bias.data.copy_(bias)
