"""Images as the tokens that the first encoder reads: whole, or with patches left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.model.pools import AttentionPool, FirstToken, FirstTokenAndMean, FirstTwoTokens, Mean
from vision_transformers.model.rotary import Rotation
from vision_transformers.model.vit import ViT


@dataclass(frozen=True)
class Tokens:
    """A batch of embedded images, and where their tokens lie."""

    sequence: Float[Tensor, "batch tokens model_dimension"]
    """Prefix tokens, then patches, with their positions."""
    rotation: Rotation | None
    grid: tuple[int, int]
    """Rows and columns of patches, before any are left out."""
    number_of_prefix_tokens: int

    @property
    def number_of_patches(self) -> int:
        """Of a whole image."""
        return self.grid[0] * self.grid[1]

    def on_grid(self, values: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch rows columns"]:
        """Values of tokens as a map of the patches; prefix tokens have no place on it."""
        return values[..., self.number_of_prefix_tokens :].unflatten(-1, self.grid)

    def keeping(self, patches: Int[Tensor, "batch kept"]) -> "Tokens":
        """Without all patches but these, numbered in rows from the top left; the model never sees the others.

        A patch brings its position along, so that the rest is what it was. Behind a stem of convolutions, it
        also brings what it has seen of its neighbours.
        """
        width = self.sequence.shape[2]
        prefix = self.sequence[:, : self.number_of_prefix_tokens]
        kept = self.sequence[:, self.number_of_prefix_tokens :].gather(
            1, patches[:, :, None].expand(-1, -1, width)
        )
        rotation = self.rotation
        if rotation is not None:
            rotation = Rotation(rotation.cosine[patches][:, None], rotation.sine[patches][:, None])
        return replace(self, sequence=torch.cat([prefix, kept], dim=1), rotation=rotation)


@contextmanager
def with_gradients() -> Iterator[None]:
    """Inside, gradients are computed, whatever is asked for outside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def outside_of_inference(tensor: Tensor) -> Tensor:
    """The same; a copy of what was made in inference mode, which no gradient is computed from."""
    return tensor.clone() if tensor.is_inference() else tensor


def of_classes(
    values: Float[Tensor, "batch classes"], classes: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Each image's value of its class.

    Raises:
        ValueError: the classes are not one for each image, or there is no such class.
    """
    if not isinstance(classes, Tensor) or classes.shape != values.shape[:1]:
        raise ValueError(f"classes are {classes}: expected a tensor with one class for each image")
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < values.shape[1]:
        raise ValueError(f"classes are {classes.tolist()}: expected 0 to {values.shape[1] - 1}")
    return values.gather(1, outside_of_inference(classes)[:, None])[:, 0]


def embed(model: ViT, images: Float[Tensor, "batch channels height width"]) -> Tokens:
    """Equation 1 for normalised images."""
    sequence, rotation = model.transformer_inputs(images)
    return Tokens(sequence, rotation, model.grid(images), model.number_of_prefix_tokens)


def logits_of(model: ViT, tokens: Tokens) -> Float[Tensor, "batch classes"]:
    """Equations 2 to 4 and the head."""
    sequence, _ = model.transformer(tokens.sequence, False, tokens.rotation)
    logits: Tensor = model.head(sequence)
    return logits


def reading(
    model: ViT, sequence: Float[Tensor, "batch tokens model_dimension"]
) -> Float[Tensor, "batch tokens"]:
    """How much of what the head reads comes from each token; each row sums to 1.

    All from the class token, where the model has no other pool; equal shares of a mean; the attention of a
    pool that attends.
    """
    shares = sequence.new_zeros(sequence.shape[:2])
    pool = model.head.pool
    match pool:
        case FirstToken():
            shares[:, 0] = 1
        case FirstTwoTokens():
            shares[:, :2] = 1 / 2
        case Mean():
            shares[:, pool.skipped :] = 1 / (shares.shape[1] - pool.skipped)
        case FirstTokenAndMean():
            skipped = pool.mean.skipped
            shares[:, skipped:] = 1 / (2 * (shares.shape[1] - skipped))
            shares[:, 0] += 1 / 2
        case AttentionPool():
            shares = pool.weights(sequence).mean(dim=1)
        case _:
            raise TypeError(f"how a {type(pool).__name__} reads tokens is not known here")
    return shares
