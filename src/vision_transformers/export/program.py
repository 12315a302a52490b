"""A classifier as one function of pixels: what an exported file computes."""

from copy import deepcopy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vision_transformers.classifier import Classifier
from vision_transformers.model.patches import grid_shape
from vision_transformers.model.positions import NoPositionalEncoding
from vision_transformers.model.rotary import Rotation
from vision_transformers.model.vit import ViT


class Program(nn.Module):
    """From 8-bit pixels to what a classifier says of them: `outputs` names what comes out, in that order.

    Normalisation, temperature and softmax are inside; positions are constants for one size of images.

    Args:
        classifier: it is not changed, and shares its weights.
    """

    mean: Float[Tensor, "channels 1 1"]
    std: Float[Tensor, "channels 1 1"]

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        preprocessing = classifier.preprocessing
        self.outputs = ("probabilities", "logits", "features") if classifier.classes else ("features",)
        self.temperature = classifier.temperature
        self.model = _for_one_size(classifier.model, preprocessing.size)
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pixels: UInt8[Tensor, "batch channels height width"]) -> tuple[Tensor, ...]:
        """The same steps as of `normalise` and `Classifier`, in the same order."""
        images = (pixels.float() / 255 - self.mean) / self.std
        logits, features = self.model.logits_and_features(images)
        found = {
            "probabilities": (logits / self.temperature).softmax(dim=1),
            "logits": logits,
            "features": features,
        }
        return tuple(found[name] for name in self.outputs)


class ConstantPositions(nn.Module):
    """Any positions that are added to tokens, computed once.

    Args:
        table: what is added.
    """

    table: Float[Tensor, "1 tokens model_dimension"]

    def __init__(self, table: Float[Tensor, "1 tokens model_dimension"]) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(
        self,
        sequence: Float[Tensor, "batch tokens model_dimension"],
        grid: tuple[int, int],  # noqa: ARG002 - every positional encoding is called alike
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """Adds the table."""
        return sequence + self.table


class ConstantRotation(nn.Module):
    """Rotary positions, computed once.

    Args:
        rotation: of the patches.
    """

    cosine: Float[Tensor, "patches head_dimension"]
    sine: Float[Tensor, "patches head_dimension"]

    def __init__(self, rotation: Rotation) -> None:
        super().__init__()
        self.register_buffer("cosine", rotation.cosine)
        self.register_buffer("sine", rotation.sine)

    def forward(self, grid: tuple[int, int], device: torch.device) -> Rotation:  # noqa: ARG002 - as above
        """The rotation of each patch."""
        return Rotation(self.cosine, self.sine)


@torch.no_grad()
def _for_one_size(model: ViT, size: tuple[int, int]) -> ViT:
    """The same model, which shares the weights, with positions that nobody needs to resize or to compute."""
    kept = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copy = deepcopy(model, kept)
    grid = grid_shape(size, model.config.patch_shape)
    if not isinstance(model.positions, NoPositionalEncoding):
        copy.positions = ConstantPositions(model.added_positions(grid))
    rotation = model.rotary_positions(grid, torch.device("cpu"))
    if rotation is not None:
        copy.rotary_positions = ConstantRotation(rotation)
    return copy
