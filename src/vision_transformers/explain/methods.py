"""The ways to explain that `vit explain` knows by name, each from images and classes to maps."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.attention_lrp import attention_lrp
from vision_transformers.explain.attention_maps import attention_maps
from vision_transformers.explain.integrated_gradients import integrated_gradients
from vision_transformers.explain.occlusion import occlusion
from vision_transformers.explain.relevance import relevance
from vision_transformers.explain.rollout import attention_rollout
from vision_transformers.model.vit import ViT

Explain = Callable[
    [ViT, Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]],
    Float[Tensor, "batch rows columns"],
]
DEFAULT = "attention-lrp"
"""The one that the table in docs/explaining.md supports."""


@dataclass(frozen=True)
class Method:
    """A way to explain, and what its map is."""

    explain: Explain
    words: str
    """For the person who looks at it."""
    is_of_a_class: bool = True
    """Whether another class has another map."""
    is_slow: bool = False
    """Whether it takes a pass for each patch."""


METHODS: dict[str, Method] = {
    "attention-lrp": Method(
        attention_lrp,
        "how much each patch adds to the class (orange) or takes from it (blue), attention held constant",
    ),
    "relevance": Method(relevance, "how much attention to each patch, in all layers, speaks for the class"),
    "integrated-gradients": Method(
        integrated_gradients,
        "how much each patch's pixels add to the class (orange) or take from it (blue) on the way from the "
        "picture's mean colour",
    ),
    "occlusion": Method(
        occlusion, "how much the class loses when the model does not get this patch", is_slow=True
    ),
    "occlusion-mean": Method(
        lambda model, images, classes: occlusion(model, images, classes, "mean"),
        "how much the class loses when this patch is painted over with the mean colour",
        is_slow=True,
    ),
    "rollout": Method(
        lambda model, images, classes: attention_rollout(model, images),  # noqa: ARG005
        "where information could have come from, through all layers; not why, and the same for every class",
        is_of_a_class=False,
    ),
    "attention": Method(
        lambda model, images, classes: attention_maps(model, images, layers=[-1])[0].mean(dim=1),  # noqa: ARG005
        "where information is mixed in the last layer, not why",
        is_of_a_class=False,
    ),
}
