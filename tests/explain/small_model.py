"""A small model that knows the planted pictures, as it lies beside this file, or trained anew.

To write it anew: `python -m tests.explain.small_model`
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.explain.planted import CELL, CLASSES, SIDE, plant

from vision_transformers.model.config import Pool
from vision_transformers.model.vit import ViT
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Optimizer

TRAINED = Path(__file__).with_name("planted.safetensors")
"""With a class token."""
STEPS, BATCH_SIZE = 450, 64


@cache
def trained_before() -> ViT:
    """The model that lies beside this file."""
    model = _untrained("class")
    model.load_state_dict(load_file(TRAINED))
    return model.eval()


@cache
@torch.enable_grad()
def trained(pool: Pool) -> ViT:
    """A model that is trained now, for half a minute."""
    model = _untrained(pool)
    optimizers = Optimizers(model, Optimizer("muon", learning_rate=2e-3, muon_learning_rate=0.01))
    pictures = plant(6000, seed=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        batch = torch.randint(len(pictures.images), (BATCH_SIZE,), generator=generator)
        model.zero_grad()
        F.cross_entropy(model(pictures.images[batch]), pictures.labels[batch]).backward()
        optimizers.step(min(1, (step + 1) / 50) * (1 - step / STEPS))
    return model.eval()


def _untrained(pool: Pool) -> ViT:
    torch.manual_seed(0)
    return ViT((CELL, CELL), 64, 3, 4, 128, 3, len(CLASSES), (SIDE, SIDE), pool=pool)


if __name__ == "__main__":
    save_file(trained("class").state_dict(), TRAINED)
