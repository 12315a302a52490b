"""Your own pictures, from weights that have seen others."""

from dataclasses import dataclass, replace
from typing import Literal

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.source import DataSource
from vision_transformers.recipes.folder import folder
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule

FEW = 50
"""Pictures of a class, below which the body is better left as it is (docs/log.md, 2026-11-24)."""
STEPS = 500
"""Of a short run: what BiT's rule takes for up to 20,000 pictures (arXiv 1912.11370, section 3.3)."""

Learns = Literal["head", "matrices", "all"]
LEARNING = {
    "head": "the head learns alone",
    "matrices": "low-rank matrices learn",
    "all": "all weights learn",
}
RATES = {"head": 1e-3, "matrices": 1e-3, "all": 1e-4}
"""AdamW's peak learning rate, by what learns."""


@dataclass(frozen=True)
class Choice:
    """A value that the size of a data set decided."""

    option: str
    """As `vit train` calls it."""
    value: str
    """As one would type it."""
    reason: str


def finetune() -> Recipe:
    """All weights of a trained model, with a head for its classes, on PATH/train/<class>/* or PATH/<class>/*.

    vit train finetune --data.path PATH --init SOURCE [--init-format timm]

    SOURCE is a run or a model folder, or somebody's files (`vit convert --help` has the formats); it decides
    the architecture, the size of the images and their preprocessing. Batch size, epochs, and what learns at
    which rate are chosen from the number of pictures, and the choices are printed with their reasons; an
    option that you give is yours. Not measured: it depends on the pictures.
    """
    base = folder()
    return Recipe(
        name="finetune",
        model=base.model,
        data=DataSource(name="folder"),
        preprocessing=base.preprocessing,
        augmentation=Augmentation(resized_crop=(0.5, 1.0), flip=True),
        optimizer=Optimizer(name="adamw", learning_rate=1e-4, weight_decay=0.05, layer_decay=0.75),
        schedule=Schedule(shape="cosine", warmup=0.1),
        epochs=10,
        batch_size=64,
        label_smoothing=0.1,
    )


def finetune_on(
    images: int, classes: int, learns: Learns | None = None, batch_size: int | None = None
) -> tuple[Recipe, tuple[Choice, ...]]:
    """The recipe for a data set, and what its size decided.

    Args:
        images: how many there are to learn from.
        classes: how many there are.
        learns: what learns, where a person has said so.
        batch_size: images in a step, where a person has said so.
    """
    if batch_size is None:
        batch_size = next((size for size in (64, 32, 16, 8, 4, 2) if size * 8 <= images), 1)
    epochs = min(max(round(STEPS * batch_size / images), 5), 100)
    per_class = images // classes
    asked = learns is not None
    if learns is None:
        learns = "head" if per_class < FEW else "all"
    frozen: Literal["body", "nothing"] = "body" if learns == "head" else "nothing"
    few_or_many = "fewer than" if per_class < FEW else "at least"
    by_number = f"{per_class:,} pictures a class, {few_or_many} {FEW}"
    steps = "at least 8 steps an epoch" if images >= 8 * batch_size else "as many steps an epoch as can be"
    choices = [
        Choice("batch-size", f"{batch_size}", f"{images:,} pictures to learn from: {steps}"),
        Choice("epochs", f"{epochs}", f"about {STEPS} steps, in 5 to 100 epochs"),
        Choice("frozen", frozen, f"{LEARNING[learns]}, as other options say" if asked else by_number),
        Choice("optimizer.learning-rate", f"{RATES[learns]:g}", f"usual where {LEARNING[learns]}"),
    ]
    base = finetune()
    optimizer = replace(base.optimizer, learning_rate=RATES[learns])
    if learns == "matrices":
        optimizer = replace(optimizer, layer_decay=1.0)
        reason = f"{LEARNING[learns]}, at one rate in all layers: they hold nothing yet that it could spoil"
        choices.append(Choice("optimizer.layer-decay", "1", reason))
    recipe = replace(base, batch_size=batch_size, epochs=epochs, frozen=frozen, optimizer=optimizer)
    return recipe, tuple(choices)
