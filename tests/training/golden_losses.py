"""The first training losses of three tiny recipes, kept beside this file.

A change that means to leave training as it is leaves them as they are. Where one means to change it, write
them anew, and say so in its commit:

    python -m tests.training.golden_losses > tests/training/golden.json
"""

import json
import tempfile
from pathlib import Path

import torch
from tests.training.recipes import everything, tiny

from vision_transformers.randomness import generator
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.train import train

STEPS = 10
GOLDEN = Path(__file__).parent / "golden.json"
RECIPES: dict[str, Recipe] = {
    "plain": tiny(steps=STEPS),
    "muon": tiny(steps=STEPS, optimizer=everything().optimizer, label_smoothing=0.1),
    "everything": everything(steps=STEPS),
}


class Losses(Silent):
    """Remembers the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, report: StepReport) -> None:
        self.losses.append(report.loss)


def first_weights() -> list[float]:
    """As layers draw theirs, in a way that is not the same in all releases of PyTorch."""
    return torch.nn.init.trunc_normal_(torch.empty(8), generator=generator(0, "golden")).tolist()


def losses_of(recipe: Recipe) -> list[float]:
    """The training loss of each step."""
    observer = Losses()
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder) / "run", observer)
    return observer.losses


if __name__ == "__main__":
    losses = {name: losses_of(recipe) for name, recipe in RECIPES.items()}
    print(json.dumps({"first weights": first_weights()} | losses, indent=2))
