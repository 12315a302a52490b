"""Steps that are recorded and replayed are the steps that are taken one by one.

Where there is no GPU, a stand-in calls what was recorded again: it shows that nothing else is lost.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from tests.classifiers import random_classifier
from tests.training.recipes import everything, run_of
from torch import Tensor

from vision_transformers.data.batches import RecordedVariation, training_batches
from vision_transformers.data.vary_batch import epoch_seed, vary_batch
from vision_transformers.evaluation.metrics import evaluate
from vision_transformers.runtime.recording import WARM_UP, Recording
from vision_transformers.training import gradients as module
from vision_transformers.training.gradients import RecordedGradients
from vision_transformers.training.recipe import Teacher
from vision_transformers.training.state import TrainingState, initial_state
from vision_transformers.training.step import training_step

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
STEPS = 12


class StandIn(Recording):
    """Replays by calling the first recorded function again, into the same memory."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.calls, self.graph = device, 0, None
        self.function: Callable[[], Tensor | None] | None = None

    def __call__(self, function: Callable[[], Tensor | None]) -> Tensor | None:
        self.calls += 1
        if self.calls > WARM_UP:
            self.graph = self.graph or object()  # type: ignore[assignment]
            self.function = self.function or function
        return (self.function or function)()


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_GPU:
        monkeypatch.setattr(module, "Recording", StandIn)
        monkeypatch.setattr("vision_transformers.training.optimizer.Recording", StandIn)
        monkeypatch.setattr("vision_transformers.data.batches.Recording", StandIn)


def steps(folder: Path, recorded: bool) -> tuple[TrainingState, list[float]]:
    """With everything that a step may have, a teacher among it, and evaluations between."""
    teacher = Teacher(str(folder / "teacher"), temperature=2.0)
    recipe = everything(accumulation=1, steps=STEPS, device=DEVICE, teacher=teacher)
    optimizer = replace(recipe.optimizer, layer_decay=0.7, clip=0.5)
    run = run_of(replace(recipe, optimizer=optimizer), folder)
    state = initial_state(run.recipe, run.model_config, run.device)
    state.model.train()
    kind = RecordedGradients if recorded else module.Gradients
    gradients = kind(run, list(state.model.parameters()), state.model, run.objective())
    how = (run.recipe.preprocessing, run.recipe.augmentation, run.order)
    batches = training_batches(run.training_images, *how, 0, STEPS, run.device, 0)
    losses = []
    for batch in islice(batches, STEPS):
        losses.append(training_step(run, state, gradients, batch).loss)
        if state.step in (2, 4, 9):
            evaluate(state.model, [batch], "float32")
    assert gradients.stay_in_memory is recorded
    return state, losses


def test_recorded_steps_are_those_that_are_not_recorded(tmp_path: Path) -> None:
    random_classifier(tuple("0123456789")).save(tmp_path / "teacher")
    (plain, expected), (replayed, found) = steps(tmp_path, False), steps(tmp_path, True)
    assert found == pytest.approx(expected, rel=1e-3 if HAS_GPU else 1e-6)
    assert len(set(found)) == STEPS
    assert replayed.gradient_norm == pytest.approx(plain.gradient_norm, rel=5e-2 if HAS_GPU else 1e-6)
    assert plain.gradient_norm > 0.5, "else nothing was clipped"
    for (name, before), after in zip(
        plain.model.state_dict().items(), replayed.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-3, msg=name)


def test_recorded_variations_are_those_that_are_not_recorded() -> None:
    augmentation = everything().augmentation
    augmentation = replace(augmentation, flip=True, rotation=10.0, elastic=1.0, resized_crop=(0.5, 1.0))
    augmentation = replace(augmentation, rand_augment=2, color_jitter=0.3)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator).to(DEVICE)
    vary = RecordedVariation(pixels, augmentation, 10)
    found, expected = [], []
    for number in range(8):
        indices = torch.randperm(40, generator=generator)[:10].to(DEVICE)
        found.append(vary(indices, epoch_seed(3, number // 4)))
        expected.append(vary_batch(pixels[indices], indices, augmentation, 3, number // 4))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
