"""Loss and accuracy are those of the images, whatever batches they come in."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_transformers.data.batches import evaluation_batches
from vision_transformers.data.images import ImagesInMemory
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.evaluation.metrics import ClassificationSums, evaluate, outputs

IMAGES = ImagesInMemory(
    torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 2]),
    "made",
)
PREPROCESSING = Preprocessing(size=(4, 4), channels=1)


class Classifier(nn.Module):
    """Three fixed logits from an image; with dropout, to see in which mode it is judged."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)
        self.dropout = nn.Dropout(0.9)
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.dropout(self.layer(image.flatten(1)))
        return logits


def by_hand(model: Classifier) -> tuple[float, float]:
    """The means over all images, one by one, in plain Python."""
    losses, hits = [], 0
    for pixels, label in zip(IMAGES.pixels, IMAGES.labels.tolist(), strict=True):
        logits = model.layer((pixels.float() / 255 - 0.5).flatten() / 0.5).tolist()
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
        hits += logits.index(max(logits)) == label
    return sum(losses) / len(losses), hits / len(losses)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 64])
def test_a_partial_last_batch_counts_its_images_and_no_more(batch_size: int) -> None:
    model = Classifier().train()
    batches = evaluation_batches(IMAGES, PREPROCESSING, batch_size, torch.device("cpu"), 0)
    sums = evaluate(model, batches, "float32")
    loss, accuracy = by_hand(model)
    assert sums.images == 10
    assert sums.means("test") == pytest.approx({"test_loss": loss, "test_accuracy": accuracy}, rel=1e-5)
    assert model.training, "its mode is put back"


def test_the_image_that_fills_up_the_last_batch_is_right_once() -> None:
    """Else the accuracy of a model depends on the batch size, and may be above 1."""
    model = Classifier()
    logits, _ = outputs(model, evaluation_batches(IMAGES, PREPROCESSING, 10, torch.device("cpu"), 0))
    guessed = replace(IMAGES, labels=logits.argmax(dim=1))
    sums = evaluate(model, evaluation_batches(guessed, PREPROCESSING, 4, torch.device("cpu"), 0), "float32")
    assert (sums.images, sums.correct) == (10, 10)


def test_a_model_is_judged_in_half_precision_by_a_loss_in_full() -> None:
    """As it is trained; else the losses of two checkpoints would differ only where three digits do."""
    model = Classifier()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.layer((IMAGES.pixels.float() / 255 - 0.5).flatten(1) / 0.5)
    assert logits.dtype == torch.bfloat16
    expected = F.cross_entropy(logits.float(), IMAGES.labels).item()
    sums = evaluate(model, evaluation_batches(IMAGES, PREPROCESSING, 4, torch.device("cpu"), 0), "bfloat16")
    assert sums.means("test")["test_loss"] == pytest.approx(expected, rel=1e-6)


def test_sums_of_unequal_batches_merge_to_the_mean_of_their_images() -> None:
    merged = ClassificationSums(3, 6.0, 1) + ClassificationSums(1, 0.0, 1)
    assert merged.means("train") == {"train_loss": 1.5, "train_accuracy": 0.5}


def test_outputs_are_those_of_evaluation_and_of_each_image_once() -> None:
    model = Classifier().train()
    logits, labels = outputs(model, evaluation_batches(IMAGES, PREPROCESSING, 4, torch.device("cpu"), 0))
    expected = model.layer((IMAGES.pixels.float() / 255 - 0.5).flatten(1) / 0.5)
    torch.testing.assert_close(logits, expected.detach())
    assert not logits.requires_grad, "it would keep what each layer computed of every image"
    assert torch.equal(labels, IMAGES.labels)
    assert model.training, "its mode is put back"
