"""Numbers about a model, as sums over images that merge by addition."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vision_transformers.data.batches import Batch
from vision_transformers.model.evaluating import evaluating
from vision_transformers.runtime.precision import ResolvedPrecision, autocast


@dataclass(frozen=True)
class ClassificationSums:
    """Sums over images: of batches, or of processes, they add up to those of all."""

    images: int = 0
    loss: float = 0.0
    correct: int = 0

    def __add__(self, other: "ClassificationSums") -> "ClassificationSums":
        return ClassificationSums(
            self.images + other.images, self.loss + other.loss, self.correct + other.correct
        )

    def means(self, part: str) -> dict[str, float]:
        """`<part>_loss` and `<part>_accuracy` (0 to 1), averaged over images."""
        return {f"{part}_loss": self.loss / self.images, f"{part}_accuracy": self.correct / self.images}


@torch.no_grad()
def outputs(
    model: nn.Module, batches: Iterable[Batch]
) -> tuple[Float[Tensor, "images classes"], Int[Tensor, " images"]]:
    """Logits, in float32, and labels of all valid images, on the CPU; the model's mode is put back."""
    logits, labels = [], []
    with evaluating(model):
        for batch in batches:
            logits.append(model(batch.images)[batch.valid].float().cpu())
            labels.append(batch.labels[batch.valid].cpu())
    return torch.cat(logits), torch.cat(labels)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], precision: ResolvedPrecision) -> ClassificationSums:
    """Cross-entropy and correct guesses of a model over all valid images; the model's mode is put back."""
    total = ClassificationSums()
    with evaluating(model):
        for batch in batches:
            with autocast(precision, batch.images.device):
                logits: Float[Tensor, "batch classes"] = model(batch.images)
            losses = F.cross_entropy(logits.float(), batch.labels, reduction="none").cpu().double()
            correct = (logits.argmax(dim=1) == batch.labels).cpu()
            valid = batch.valid.cpu()
            total += ClassificationSums(
                int(valid.sum()), float(losses[valid].sum()), int((correct & valid).sum())
            )
    return total
