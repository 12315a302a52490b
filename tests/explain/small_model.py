"""A small model that knows the planted pictures."""

import fcntl
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

STEPS, BATCH_SIZE = 450, 64


@cache
def trained(pool: Pool, folder: Path) -> ViT:
    """The model, trained by the first process that asks for it in this folder; others wait and read it."""
    torch.manual_seed(0)
    model = ViT((CELL, CELL), 64, 3, 4, 128, 3, len(CLASSES), (SIDE, SIDE), pool=pool)
    file = folder / f"planted-{pool}.safetensors"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            _train(model)
            save_file(model.state_dict(), file)
    model.load_state_dict(load_file(file))
    return model.eval()


@torch.enable_grad()
def _train(model: ViT) -> None:
    """For half a minute."""
    optimizers = Optimizers(model, Optimizer("muon", learning_rate=2e-3, muon_learning_rate=0.01))
    pictures = plant(6000, seed=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        batch = torch.randint(len(pictures.images), (BATCH_SIZE,), generator=generator)
        model.zero_grad()
        F.cross_entropy(model(pictures.images[batch]), pictures.labels[batch]).backward()
        optimizers.step(min(1, (step + 1) / 50) * (1 - step / STEPS))
