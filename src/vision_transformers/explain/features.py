"""What the patches' last states say: colours for what is alike, and tokens that have lost their place."""

from collections import deque
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vision_transformers.explain.tokens import embed
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT

OUTLIER = 3.0
"""Times the median norm: those of DINOv2 lie at 3 times and above (arXiv 2309.16588, figure 3)."""


@torch.no_grad()
def feature_colours(
    model: ViT, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch rows columns 3"]:
    """The first three principal components of the patches' features as red, green and blue, 0 to 1.

    They are those of all images together, so that what is alike has one colour in all of them (as DINOv2
    shows, arXiv 2304.07193, figure 1). Where there are fewer than three, the other colours are 0.
    """
    with evaluating(model):
        tokens = embed(model, images)
        sequence, _ = model.transformer(tokens.sequence, False, tokens.rotation)
    features = sequence[:, tokens.number_of_prefix_tokens :].flatten(0, 1).float()
    centred = features - features.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:3]
    # The sign of a component is arbitrary: its largest entry is made positive, the same on every machine.
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    values = centred @ (directions * largest.sign()).T
    low, high = values.quantile(0.01, dim=0), values.quantile(0.99, dim=0)
    colours = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return F.pad(colours, (0, 3 - len(directions))).unflatten(0, (len(images), *tokens.grid))


@dataclass(frozen=True)
class HighNorms:
    """Patches whose last states are far longer than the others'."""

    norms: Float[Tensor, "batch rows columns"]
    outliers: Bool[Tensor, "batch rows columns"]
    has_registers: bool
    """Whether the model has register tokens, which are to hold what outliers do."""

    def warning(self) -> str | None:
        """A sentence for people; None where there is nothing to warn of."""
        share = float(self.outliers.float().mean())
        if share == 0:
            return None
        remedy = "" if self.has_registers else ". Models trained with register tokens have hardly any"
        return (
            f"{share:.1%} of the patches have states over {OUTLIER:g} times as long as the median's: such "
            "tokens hold what the whole image says and not what their place does (arXiv 2309.16588); "
            f"attention to them shows no place{remedy}"
        )


@torch.no_grad()
def high_norm_tokens(model: ViT, images: Float[Tensor, "batch channels height width"]) -> HighNorms:
    """Looks for them after the last encoder, before the norm that hides them."""
    with evaluating(model):
        tokens = embed(model, images)
        states = model.transformer.states(tokens.sequence, tokens.rotation)
        ((last, _),) = deque(states, maxlen=1)
    norms = tokens.on_grid(last.norm(dim=2))
    medians = norms.flatten(1).median(dim=1).values[:, None, None]
    return HighNorms(norms, norms > OUTLIER * medians, model.config.number_of_register_tokens > 0)
