"""Everything that a training step changes, and nothing else: what a checkpoint must hold."""

import copy
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.model.activation_checkpointing import checkpoint_activations
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.low_rank import add_low_rank
from vision_transformers.model.vit import ViT
from vision_transformers.randomness import derive_seed
from vision_transformers.training.average import MovingAverage
from vision_transformers.training.freezing import freeze
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Recipe


@dataclass
class TrainingState:
    """A run between two steps."""

    model: ViT
    optimizers: Optimizers
    average: AveragedModel | None
    best_weights: dict[str, Tensor] | None = None
    best_accuracy: float = -1.0
    step: int = 0
    """Optimizer steps that are done."""
    sums: ClassificationSums = field(default_factory=ClassificationSums)
    """Of the training images since the last row of metrics."""
    gradient_norm: float = 0.0
    """Of the last step, before it was clipped."""

    @property
    def judged(self) -> ViT:
        """The model that is validated and kept: the moving average, where there is one."""
        return self.model if self.average is None else cast(ViT, self.average.module)

    def kept(self) -> ViT:
        """The model that the run ends with: the judged one, or the best of those that were validated."""
        if self.best_weights is None:
            return self.judged
        best = copy.deepcopy(self.judged)
        best.load_state_dict(self.best_weights)
        return best

    def keep_if_best(self, accuracy: float) -> None:
        """Remembers the judged weights if they validated better than all before."""
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self.best_weights = {name: value.clone() for name, value in self.judged.state_dict().items()}


def initial_state(recipe: Recipe, config: ViTConfig, device: torch.device) -> TrainingState:
    """The state before the first step: a function of recipe, model and seed, equal on every device."""
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    model = ViT.from_config(config)
    if recipe.low_rank.rank:
        torch.manual_seed(derive_seed(recipe.seed, "low-rank"))
        add_low_rank(model.transformer.layers, recipe.low_rank)
    model.to(device)
    freeze(model, recipe)
    average = MovingAverage(model, recipe.average_decay) if recipe.average_decay else None
    if recipe.activation_checkpointing:
        checkpoint_activations(model.transformer.layers)
    return TrainingState(model, Optimizers(model, recipe.optimizer), average)
