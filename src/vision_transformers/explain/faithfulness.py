"""How far to believe a map: what the model says as patches go, or come, in the map's order.

Deletion and insertion (Petsiuk, Das and Saenko 2018, arXiv 1806.07421). A map is worth something where its
curves lie apart from those of random orders, which stand beside it always.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.explain.removal import Judge, Removal, judge_of
from vision_transformers.explain.tokens import of_classes
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.vit import ViT


@dataclass(frozen=True)
class Faithfulness:
    """Probabilities of a class while patches go or come; every curve begins with the fewest changes.

    Where tokens are dropped, one patch is left at least: the last place of a deletion shows the map's worst
    patch, the first of an insertion its best.
    """

    fractions: Float[Tensor, " steps"]
    """Part of the patches that are gone (deletion) or there (insertion), from 0 to 1."""
    deletion: Float[Tensor, "batch steps"]
    """The most important patches go first: the lower, the better."""
    insertion: Float[Tensor, "batch steps"]
    """The most important patches come first: the higher, the better."""
    random_insertion: Float[Tensor, "orders batch steps"]

    @property
    def random_deletion(self) -> Float[Tensor, "orders batch steps"]:
        """Of the same orders reversed: what is left when an order's first have gone begins its reverse."""
        return self.random_insertion.flip(2)

    def areas(self) -> dict[str, Float[Tensor, "*orders batch"]]:
        """The area under each curve, 0 to 1."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        return {name: torch.trapezoid(getattr(self, name), self.fractions) for name in names}

    def advantage(self) -> Float[Tensor, " batch"]:
        """Area under insertion less that under deletion: on average 0 for a map that knows nothing.

        For a random order reversed is a random order, too, and has the same area. Both curves in one number
        (SaCo and others compare the two alike, arXiv 2404.01415).
        """
        areas = self.areas()
        return areas["insertion"] - areas["deletion"]


@torch.no_grad()
def faithfulness(
    model: ViT,
    images: Float[Tensor, "batch channels height width"],
    maps: Float[Tensor, "batch rows columns"],
    classes: Int[Tensor, " batch"],
    removal: Removal = "drop",
    steps: int = 16,
    orders: int = 4,
    seed: int = 0,
    temperature: float = 1.0,
    beside: Faithfulness | None = None,
) -> Faithfulness:
    """Measures maps by taking patches out, and by putting them back.

    Args:
        model: any ViT with a head.
        images: normalised.
        maps: how important each patch is said to be.
        classes: the class of each image whose probability is followed.
        removal: leave tokens out, or paint over pixels.
        steps: places on each curve, after the first, as far as there are patches; two for one that would lie
            in the middle of a patch.
        orders: random orders to stand beside.
        seed: of those.
        temperature: what logits are divided by before the softmax.
        beside: what came of another map, all else being equal: its random orders stand for this map's too.

    Raises:
        ValueError: the maps are not of the model's grid, or there is no such removal.
    """
    grid = model.grid(images)
    if maps.shape != (len(images), *grid):
        raise ValueError(f"maps are {tuple(maps.shape)}: expected {(len(images), *grid)}")
    ranking = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    counts = _counts(ranking.shape[1], steps)
    generator = torch.Generator().manual_seed(seed)
    with evaluating(model):
        # A mean over no patch is no number: of tokens that are left out, one stays.
        kept = [max(count, 1) for count in counts] if removal == "drop" else counts
        curve = partial(_insertion, judge_of(model, images, removal), classes, temperature, kept)
        if beside is None:
            shuffled = [torch.rand(ranking.shape, generator=generator).argsort(dim=1) for _ in range(orders)]
            random = torch.stack([curve(order.to(images.device)) for order in shuffled])
        else:
            random = beside.random_insertion
        return Faithfulness(
            fractions=torch.tensor(counts, device=images.device) / ranking.shape[1],
            deletion=curve(ranking.flip(1)).flip(1),
            insertion=curve(ranking),
            random_insertion=random,
        )


def _insertion(
    judge: Judge,
    classes: Int[Tensor, " batch"],
    temperature: float,
    counts: list[int],
    ranking: Int[Tensor, "batch patches"],
) -> Float[Tensor, "batch counts"]:
    """Probabilities of what so many patches, the first of a ranking, show."""
    values = []
    for count in counts:
        probabilities = (judge(ranking[:, :count]) / temperature).softmax(dim=1)
        values.append(of_classes(probabilities, classes))
    return torch.stack(values, dim=1)


def _counts(patches: int, steps: int) -> list[int]:
    """Numbers of patches, from none to all, in equal strides that divide them as well as can be.

    With each stands what it leaves of all patches, so that a curve which is turned round, as deletion is, has
    its values at the same places.
    """
    counts = {round(patches * step / steps) for step in range(steps + 1)}
    return sorted(counts | {patches - count for count in counts})
