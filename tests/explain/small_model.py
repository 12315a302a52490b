"""A small model that knows the planted pictures."""

from functools import cache

import torch
import torch.nn.functional as F
from tests.explain.planted import CELL, CLASSES, SIDE, Planted, plant

from vision_transformers.model.config import Pool
from vision_transformers.model.vit import ViT
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Optimizer

STEPS, BATCH_SIZE = 450, 64


@cache
def training_pictures() -> Planted:
    return plant(6000, seed=0)


@cache
@torch.enable_grad()
def trained(pool: Pool) -> ViT:
    """Trains for a quarter of a minute."""
    torch.manual_seed(0)
    model = ViT((CELL, CELL), 64, 3, 4, 128, 3, len(CLASSES), (SIDE, SIDE), pool=pool)
    optimizers = Optimizers(model, Optimizer("muon", learning_rate=2e-3, muon_learning_rate=0.01))
    pictures = training_pictures()
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        batch = torch.randint(len(pictures.images), (BATCH_SIZE,), generator=generator)
        model.zero_grad()
        F.cross_entropy(model(pictures.images[batch]), pictures.labels[batch]).backward()
        optimizers.step(min(1, (step + 1) / 50) * (1 - step / STEPS))
    return model.eval()
