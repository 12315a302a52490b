"""Options of `vit train` that change nothing by themselves, because another one is off."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vision_transformers.errors import UsageFailure
from vision_transformers.training.recipe import Recipe


@dataclass(frozen=True)
class Needs:
    """When an option changes something, and what makes it so."""

    has_effect: Callable[[Recipe], bool]
    remedy: str
    """What to type as well, or in its place."""


MUON = Needs(
    lambda recipe: recipe.optimizer.name == "muon" and not recipe.low_rank.rank and recipe.frozen != "body",
    "--optimizer.name muon, and encoders whose own matrices learn (no --low-rank.rank, no --frozen body)",
)
NEEDS = {
    "augmentation.erasing-area": Needs(
        lambda recipe: recipe.augmentation.erasing > 0, "--augmentation.erasing"
    ),
    "augmentation.mix-probability": Needs(
        lambda recipe: recipe.augmentation.mixes, "--augmentation.mixup or --augmentation.cutmix"
    ),
    "augmentation.rand-augment-magnitude": Needs(
        lambda recipe: recipe.augmentation.rand_augment > 0, "--augmentation.rand-augment"
    ),
    "data.test-fraction": Needs(lambda recipe: recipe.data.name == "folder", "the recipe `folder`"),
    "epochs": Needs(lambda recipe: recipe.steps is None, "no --steps"),
    "frozen-layers": Needs(lambda recipe: recipe.frozen != "body", "--frozen nothing or --frozen embeddings"),
    "low-rank.alpha": Needs(lambda recipe: recipe.low_rank.rank > 0, "--low-rank.rank"),
    "low-rank.parts": Needs(lambda recipe: recipe.low_rank.rank > 0, "--low-rank.rank"),
    "optimizer.layer-decay": Needs(
        lambda recipe: recipe.frozen != "body", "--frozen nothing or --frozen embeddings"
    ),
    "optimizer.muon-learning-rate": MUON,
    "optimizer.muon-momentum": MUON,
    "optimizer.muon-weight-decay": MUON,
    "probe.learning-rate": Needs(lambda recipe: recipe.probe.fraction > 0, "--probe.fraction"),
    "schedule.final": Needs(
        lambda recipe: recipe.schedule.shape != "constant",
        "--schedule.shape linear or --schedule.shape cosine",
    ),
}


def refuse_idle_options(typed: Iterable[str], recipe: Recipe) -> None:
    """Meets what a person asks for in vain.

    Args:
        typed: the options, as the help spells them, without their dashes.
        recipe: with all of them.

    Raises:
        UsageFailure: names the first that changes nothing, and what it needs.
    """
    for option in typed:
        needs = NEEDS.get(option)
        if needs is not None and not needs.has_effect(recipe):
            raise UsageFailure(f"--{option} changes nothing here: it needs {needs.remedy}, or leave it out")
