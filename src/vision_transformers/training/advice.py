"""What a person should hear of a recipe: of rates that are unusual, though they may be meant; of numbers that
take long; of a compiler that is missing; of few or small pictures; of memory."""

import math
import shlex
from dataclasses import dataclass

import torch

from vision_transformers.data.images import ImageFiles
from vision_transformers.data.usual_size import usual_size
from vision_transformers.model.kernels.short_attention import suits_processor
from vision_transformers.runtime.native import describe_compiler
from vision_transformers.runtime.precision import has_bfloat16
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.run import Run

FROM_SCRATCH = (1e-5, 1e-2)
FROM_WEIGHTS = (1e-6, 3e-3)
MUON = (1e-3, 0.1)
"""Usual peak learning rates, from and to: of AdamW by how what learns begins, and of Muon."""
FEW_PICTURES = 1000
"""With fewer, weights that have seen others are worth most (docs/log.md, 2026-11-24, fine-tuning)."""

FEWEST_TO_CALIBRATE = 100
"""Validation images; a temperature of fewer often makes probabilities worse (docs/log.md, 2026-11-27)."""


@dataclass(frozen=True)
class LearningRate:
    """A peak learning rate, and what is usual where it is used."""

    option: str
    """As `vit train` calls it."""
    value: float
    usual: tuple[float, float]
    learning: str
    """What learns at it."""

    @property
    def is_usual(self) -> bool:
        """Whether it lies within what is usual."""
        least, most = self.usual
        return least <= self.value <= most


def learning_rates(recipe: Recipe, probing: bool) -> list[LearningRate]:
    """The rates at which something learns, in the beginning in which the head learns alone or after it."""
    if probing:
        return [LearningRate("probe.learning-rate", recipe.probe.learning_rate, FROM_SCRATCH, "a head alone")]
    usual = FROM_SCRATCH if recipe.init is None else FROM_WEIGHTS
    begins = "a run from scratch" if recipe.init is None else "a run from trained weights"
    rates = [LearningRate("optimizer.learning-rate", recipe.optimizer.learning_rate, usual, begins)]
    frozen = recipe.frozen == "body" or recipe.frozen_layers == recipe.model.number_of_layers
    if recipe.optimizer.name == "muon" and not (frozen or recipe.low_rank.rank):
        muon_rate = recipe.optimizer.muon_learning_rate
        rates.append(LearningRate("optimizer.muon-learning-rate", muon_rate, MUON, begins))
    return rates


def learning_rate_warnings(recipe: Recipe) -> list[str]:
    """A sentence for each learning rate that is far from what is usual for its optimizer."""
    beginning = learning_rates(recipe, probing=True) if recipe.probe.fraction else []
    return [
        f"--{rate.option} is {rate.value:g}: "
        f"for {rate.learning}, {rate.usual[0]:g} to {rate.usual[1]:g} is usual"
        for rate in [*beginning, *learning_rates(recipe, probing=False)]
        if not rate.is_usual
    ]


def frozen_warnings(recipe: Recipe) -> list[str]:
    """A sentence where a head learns to read what has learned nothing."""
    if recipe.frozen != "body" or recipe.init is not None:
        return []
    return ["--frozen body leaves random weights as they are: --init SOURCE begins with trained ones"]


def precision_warnings(run: Run) -> list[str]:
    """A sentence where products are to be in numbers that the processor has no instructions for."""
    if run.recipe.precision != "bfloat16" or has_bfloat16(run.device):
        return []
    return [
        "--precision is bfloat16, for which there are no instructions here that PyTorch would use: "
        "a step takes several times as long as with --precision float32"
    ]


def compiler_warnings(run: Run) -> list[str]:
    """A sentence where attention takes longer because nothing can compile what would be faster."""
    dtype = getattr(torch, run.environment.precision)
    if run.device.type != "cpu" or describe_compiler() is not None or not suits_processor(dtype):
        return []
    return ["gcc is not on the PATH: attention is left to PyTorch, which takes longer"]


def few_pictures_warnings(run: Run) -> list[str]:
    """A sentence where a folder has too few pictures to learn from without trained weights."""
    count, is_folder = len(run.data.train), run.recipe.data.name == "folder"
    if not is_folder or run.recipe.init is not None or count >= FEW_PICTURES:
        return []
    command = f"vit train finetune --data.path {shlex.quote(str(run.recipe.data.path))} --init SOURCE"
    return [
        f"{count:,} training pictures are few to learn from without trained weights: `{command}` "
        "begins with some"
    ]


def small_pictures_warnings(run: Run) -> list[str]:
    """A sentence where a folder's pictures are enlarged to more than twice their size, which adds nothing."""
    images, size = run.data.train, run.recipe.preprocessing.size
    if run.recipe.init is not None or not isinstance(images, ImageFiles):
        return []
    usual = usual_size(images)
    if any(2 * have >= get for have, get in zip(usual, size, strict=True)):
        return []
    patch = 4 if max(usual) <= 64 else 8
    rows, columns = (math.ceil(side / patch) * patch for side in usual)
    return [
        f"most pictures have {usual[0]} x {usual[1]} pixels, and are enlarged to {size[0]} x {size[1]}: "
        f"--image-shape {rows} {columns} --model.patch-shape {patch} {patch} learns from the same sooner"
    ]


def few_validation_warnings(run: Run) -> list[str]:
    """A sentence where so few images validate that it says little."""
    count = 0 if run.data.validation is None else len(run.data.validation)
    if not 0 < count < FEWEST_TO_CALIBRATE:
        return []
    points = round(100 / math.sqrt(count))
    return [
        f"{count} validation images tell accuracy to about {points} points, and no temperature is fitted to "
        f"fewer than {FEWEST_TO_CALIBRATE}: --data.validation-fraction holds out more"
    ]


def batch_size_warnings(run: Run) -> list[str]:
    """A sentence where there are fewer training images than a batch was to have."""
    asked, found = run.recipe.batch_size, run.order.batch_size
    if found == asked:
        return []
    return [f"--batch-size is {asked:,}, but there are {found:,} training images: batches have that many"]


def memory_advice(run: Run) -> str:
    """What a run can do with less memory: the same batch in more parts, fewer activations, a smaller batch.

    Only what its recipe takes is proposed.
    """
    size, parts, processes = run.order.batch_size, run.recipe.accumulation, run.processes.count
    at_once = size // run.parts
    mixes = run.recipe.augmentation.mixes
    most_parts = (size // 2 if mixes else size) // processes
    divide = (more for more in range(parts + 1, most_parts + 1) if size % (more * processes) == 0)
    more_parts = next((more for more in divide if run.recipe.batch_size % more == 0), None)
    proposals = []
    if more_parts is not None:
        proposals.append(f"--accumulation {more_parts}, which computes the same batch in parts")
    if not run.recipe.activation_checkpointing:
        proposals.append("--activation-checkpointing, which computes activations twice")
    fewer = at_once // 2
    if fewer > (1 if mixes and run.parts > 1 else 0):
        proposals.append(f"--batch-size {fewer * run.parts}")
    images = "one image" if at_once == 1 else f"{at_once} images"
    return (
        f"the memory of {run.environment.processor} is not enough for {images} at once: "
        f"start a new run with {', or '.join(proposals) or 'a smaller model or smaller pictures'}"
    )
