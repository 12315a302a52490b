"""One step changes the parameters by the gradient of the whole batch, or, if it is not finite, not at all."""

import json
import math
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.recipes import everything, run_of, tiny
from torch import Tensor, nn

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.batches import Batch, training_batches
from vision_transformers.errors import Failure
from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.model.vit import ViT
from vision_transformers.training.advice import batch_size_warnings, few_validation_warnings, memory_advice
from vision_transformers.training.gradients import gradients_of
from vision_transformers.training.objective import CrossEntropy, Objective, balanced_weights
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Optimizer, Probe, Recipe
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState, initial_state
from vision_transformers.training.step import training_step
from vision_transformers.training.train import train


def batches(run: Run) -> list[Batch]:
    recipe = run.recipe
    made = training_batches(
        run.training_images, recipe.preprocessing, recipe.augmentation, run.order, 0, 3, run.device, 0
    )
    return list(islice(made, 3))


def prepared(recipe: Recipe, folder: Path) -> tuple[Run, TrainingState]:
    run = run_of(recipe, folder)
    state = initial_state(recipe, run.model_config, run.device)
    state.model.train()
    return run, state


def step(
    run: Run, state: TrainingState, batch: Batch, objective: Objective | None = None
) -> ClassificationSums:
    gradients = gradients_of(run, state.model, objective or run.objective())
    return training_step(run, state, gradients, batch)


class KeepsGradients(Optimizers):
    """Takes no step, so that the gradients can be looked at."""

    def step(self, rate: float, record: bool = False) -> None:
        pass


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "class_weights": "balanced"}])
def test_a_batch_in_four_parts_has_the_gradient_of_the_whole(tmp_path: Path, options: dict[str, str]) -> None:
    gradients, sums = [], []
    for parts in (1, 4):
        run, state = prepared(tiny(accumulation=parts, optimizer=Optimizer(clip=0.0), **options), tmp_path)
        state.optimizers = KeepsGradients(state.model, run.recipe.optimizer)
        sums.append(step(run, state, batches(run)[0]))
        gradients.append([parameter.grad for parameter in state.model.parameters()])
    assert sums[0].images == sums[1].images == 64
    assert sums[0].correct == sums[1].correct
    assert sums[0].loss == pytest.approx(sums[1].loss, rel=1e-6)
    for whole, in_parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, in_parts, rtol=0, atol=1e-6)


def test_the_gradient_is_that_of_the_mean_loss_of_images_and_their_labels(tmp_path: Path) -> None:
    """By autograd alone, without anything of ours around the model."""
    run, state = prepared(tiny(accumulation=2, optimizer=Optimizer(clip=0.0)), tmp_path)
    state.optimizers = KeepsGradients(state.model, run.recipe.optimizer)
    batch = batches(run)[0]
    parameters = list(state.model.parameters())
    logits = state.model(batch.images)
    loss = nn.functional.cross_entropy(logits, batch.labels)
    expected = torch.autograd.grad(loss, parameters)
    sums = step(run, state, batch)
    assert sums.loss == pytest.approx(64 * loss.item(), rel=1e-5)
    assert sums.correct == int((logits.argmax(dim=1) == batch.labels).sum())
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-6)


def clipped_norm(run: Run, state: TrainingState) -> float:
    """Of the gradients with which a step would be taken."""
    state.optimizers = KeepsGradients(state.model, run.recipe.optimizer)
    step(run, state, batches(run)[0])
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def test_gradients_are_clipped_to_the_norm_and_reported_as_they_were(tmp_path: Path) -> None:
    run, state = prepared(tiny(optimizer=Optimizer(clip=0.01)), tmp_path)
    assert clipped_norm(run, state) == pytest.approx(0.01, rel=1e-3)
    assert state.gradient_norm > 0.01


def test_a_norm_of_0_clips_nothing(tmp_path: Path) -> None:
    """Else nothing would be learned, for hours."""
    run, state = prepared(tiny(optimizer=Optimizer(clip=0.0)), tmp_path)
    assert clipped_norm(run, state) == pytest.approx(state.gradient_norm, rel=1e-3)
    assert state.gradient_norm > 0.01


def test_a_step_depends_on_its_number_and_not_on_what_ran_before(tmp_path: Path) -> None:
    """Dropout, stochastic depth and mixing are drawn from the seed and the step."""
    losses = []
    for noise in (1, 2):
        run, state = prepared(everything(steps=3), tmp_path)
        torch.manual_seed(noise)
        losses.append([step(run, state, batch).loss for batch in batches(run)])
        torch.rand(noise)
    assert losses[0] == losses[1]


class Random(nn.Module):
    """Keeps the images that it was given, and a number that it drew, as dropout draws them."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10))
        self.given: list[Tensor] = []
        self.drawn: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images)
        self.drawn.append(torch.rand(1).item())
        return self.bias.expand(len(images), -1)


def test_each_part_of_each_step_is_mixed_and_dropped_out_anew(tmp_path: Path) -> None:
    """Here parts and steps have the same images."""
    run, _ = prepared(everything(steps=3), tmp_path)
    batch = batches(run)[0]
    part = torch.arange(len(batch.images)) % (len(batch.images) // 2)
    batch = replace(batch, images=batch.images[part], labels=batch.labels[part])
    model = Random()
    gradients = gradients_of(run, model, run.objective())
    for number in range(2):
        gradients(batch, number)
    assert len(set(model.drawn)) == 4
    assert len({tuple(images.flatten().tolist()) for images in model.given}) == 4


class Multiplies(nn.Module):
    """Keeps the type of its products."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.types: set[torch.dtype] = set()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        self.types.add(logits.dtype)
        return logits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_learns_in_the_precision_that_its_record_names(tmp_path: Path, precision: str) -> None:
    """Else it takes the time and the memory of the other, and nobody knows why."""
    run, model = run_of(tiny(precision=precision), tmp_path), Multiplies()
    gradients_of(run, model, run.objective())(batches(run)[0], 0)
    assert run.environment.precision == precision
    assert model.types == {getattr(torch, precision)}


@pytest.mark.parametrize("balanced", [True, False])
def test_what_is_minimised_is_what_the_recipe_says(tmp_path: Path, balanced: bool) -> None:
    recipe = tiny(class_weights="balanced" if balanced else "none", label_smoothing=0.2)
    run = run_of(recipe, tmp_path)
    logits, labels = torch.randn(32, 10), torch.arange(32) % 10
    weights = balanced_weights(run.data.train.labels, 10) if balanced else None
    objective, expected = run.objective(), CrossEntropy(10, 0.2, weights)
    images = torch.zeros(32, 1, 8, 8)
    losses = [each(logits, each.targets(labels), images) for each in (objective, expected)]
    torch.testing.assert_close(losses[0], losses[1])


class BreaksInPart(CrossEntropy):
    """Gives a loss that is not finite at one part of one step."""

    def __init__(self, number: int, value: float) -> None:
        super().__init__(10, 0.0, None)
        self.number, self.value = number, value

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        self.number -= 1
        return super().__call__(logits, targets, images) * (self.value if self.number == 0 else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_a_loss_that_is_not_finite_changes_nothing(tmp_path: Path, value: float, accumulation: int) -> None:
    """In any part of an accumulated batch, also where the other parts are finite."""
    run, state = prepared(everything(accumulation=accumulation, steps=3), tmp_path)
    first, second, _ = batches(run)
    step(run, state, first)
    assert state.average is not None
    watched = (state.model, state.average)
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in watched]
    optimizers = {name: tensor.clone() for name, tensor in state.optimizers.state().items()}
    with pytest.raises(Failure) as failure:
        step(run, state, second, BreaksInPart(accumulation, value))
    for module, tensors in zip(watched, before, strict=True):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())
    assert all(torch.equal(tensor, optimizers[name]) for name, tensor in state.optimizers.state().items())
    assert state.step == 1
    message = str(failure.value)
    assert message.startswith(f"step 1: the loss is {'nan' if math.isnan(value) else 'inf'}")
    names = [run.data.train.name(int(index)) for index in second.indices]
    assert message.endswith(f"The batch has 128 images: {', '.join(names[:12])} and 116 more")
    assert "at a learning rate of 0.00" in message
    assert "step was not taken" in message


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, "--optimizer.learning-rate, or"),
        ({"optimizer": Optimizer("muon")}, "--optimizer.learning-rate or --optimizer.muon-learning-rate, or"),
        ({"optimizer": Optimizer("muon"), "probe": Probe(0.5)}, "--probe.learning-rate, or"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_rates_in_force(
    tmp_path: Path, changes: dict[str, Any], options: str
) -> None:
    run, state = prepared(tiny(**changes), tmp_path)
    with pytest.raises(Failure, match=f"Start a new run with a lower {options} a longer"):
        step(run, state, batches(run)[0], BreaksInPart(1, math.nan))


def test_a_part_that_gives_what_is_not_finite_is_named(tmp_path: Path) -> None:
    """Of many layers, the one to look at."""
    run, state = prepared(tiny(accumulation=2), tmp_path)
    layer = state.model.get_submodule("transformer.layers.1.feed_forward")
    layer.register_forward_hook(lambda _, __, output: output * math.inf)
    with pytest.raises(Failure, match=r"transformer\.layers\.1\.feed_forward is the first .*inputs up to \d"):
        step(run, state, batches(run)[0])


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    run, state = prepared(tiny(), tmp_path)
    with torch.no_grad():
        state.model.get_parameter("head.classifier.weight")[3, 4] = math.nan
    with pytest.raises(Failure, match=r"not finite: head\.classifier\.weight\. Start"):
        step(run, state, batches(run)[0])


def test_where_the_model_is_finite_the_loss_is_to_blame(tmp_path: Path) -> None:
    run, state = prepared(tiny(), tmp_path)
    with pytest.raises(Failure, match=r"outputs, computed once more, are finite and up to \d"):
        step(run, state, batches(run)[0], BreaksInPart(1, math.nan))


def test_a_run_that_diverges_stops_with_one_message(tmp_path: Path) -> None:
    recipe = tiny(steps=200, optimizer=Optimizer(learning_rate=99.0, clip=0.0), batch_size=16)
    recipe = replace(recipe, schedule=replace(recipe.schedule, shape="constant", warmup=0.0))
    with pytest.raises(Failure, match=r"step \d+: the loss is .* at a learning rate of 99\.") as failure:
        train(recipe, tmp_path / "run")
    assert failure.value.exit_code == 1
    assert not (tmp_path / "run" / "model").exists()


class NeedsTooMuchOfAGPU(CrossEntropy):
    """Stands for a model that does not fit."""

    def __call__(self, *_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


class NeedsTooMuchOfACPU(CrossEntropy):
    """The same, where the error is an allocator's."""

    def __call__(self, *_: Tensor) -> Tensor:
        return torch.empty(2**50)


class NeedsTooMuchOfNumPy(CrossEntropy):
    """The same, where NumPy brings pixels to the model's numbers."""

    def __call__(self, *_: Tensor) -> Tensor:
        return torch.from_numpy(np.empty(2**50))


@pytest.mark.parametrize("objective", [NeedsTooMuchOfAGPU, NeedsTooMuchOfACPU, NeedsTooMuchOfNumPy])
def test_a_batch_that_does_not_fit_is_answered_with_one_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: type[CrossEntropy]
) -> None:
    monkeypatch.setattr(Run, "objective", lambda _: objective(10, 0.0, None))
    message = r"not enough for 64 images at once: .*--accumulation 4.*--batch-size 64"
    with pytest.raises(Failure, match=message):
        train(everything(accumulation=2, steps=3), tmp_path / "run")


MIXED = Augmentation(mixup=0.8)


@pytest.mark.parametrize(
    ("changes", "proposed"),
    [
        ({"batch_size": 6}, {"accumulation": 2, "batch_size": 3}),
        ({"batch_size": 6, "accumulation": 2}, {"accumulation": 3, "batch_size": 2}),
        ({"batch_size": 9, "accumulation": 3}, {"accumulation": 9, "batch_size": 3}),
        ({"batch_size": 9, "accumulation": 3, "augmentation": MIXED}, {}),
        ({"batch_size": 12, "accumulation": 3, "augmentation": MIXED}, {"accumulation": 4, "batch_size": 6}),
        ({"batch_size": 3, "augmentation": MIXED}, {"batch_size": 1}),
        ({"batch_size": 5_000}, {"accumulation": 5, "batch_size": 647}),  # there are 1,295 images
        ({"batch_size": 4, "accumulation": 4}, {}),
        ({"batch_size": 1}, {}),
    ],
)
def test_what_is_proposed_is_what_the_recipe_takes_and_needs_less(
    tmp_path: Path, changes: dict[str, Any], proposed: dict[str, int]
) -> None:
    run = run_of(tiny(**changes, activation_checkpointing=True), tmp_path)
    advice = memory_advice(run)
    found = re.findall(r"--(accumulation|batch-size) (\d+)", advice)
    assert {name.replace("-", "_"): int(number) for name, number in found} == proposed
    assert ("a smaller model or smaller pictures" in advice) == (not proposed)
    for name, number in proposed.items():
        other = run_of(replace(run.recipe, **{name: number}), tmp_path)
        assert (
            other.order.batch_size // other.recipe.accumulation
            < run.order.batch_size // run.recipe.accumulation
        )


def test_fewer_activations_are_proposed_where_they_are_all_kept(tmp_path: Path) -> None:
    """The only remedy for one image that is too large, but for another model."""
    advice = memory_advice(run_of(tiny(batch_size=1), tmp_path))
    assert "--activation-checkpointing" in advice
    assert "a smaller model" not in advice


def test_nothing_computes_more_images_at_once_than_a_part_of_a_batch_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation, test, temperature and the explained images need the memory, too."""
    sizes = []
    forward = ViT.forward

    def counted(model: ViT, images: Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(images))
        return forward(model, images, *arguments, **options)

    monkeypatch.setattr(ViT, "forward", counted)
    train(tiny(batch_size=64, accumulation=8, test="validation"), tmp_path / "run")
    assert set(sizes) == {8}


def test_a_mixed_image_counts_as_right_by_its_larger_share(tmp_path: Path) -> None:
    """Else the accuracy of training says less the more is mixed."""
    run, state = prepared(tiny(batch_size=8), tmp_path)
    targets = torch.zeros(8, 10)
    targets[:, 3], targets[:, 4] = 0.3, 0.7
    with torch.no_grad():
        state.model.head.classifier.weight.zero_()
        state.model.head.classifier.bias.copy_(torch.eye(10)[4])
    gradients = gradients_of(run, state.model, run.objective())
    _, hits = gradients._add(torch.randn(8, 1, 8, 8), targets).tolist()
    assert hits == 8


def test_a_batch_that_is_larger_than_the_data_is_told(tmp_path: Path) -> None:
    (warning,) = batch_size_warnings(run_of(tiny(batch_size=5_000), tmp_path))
    assert warning == "--batch-size is 5,000, but there are 1,295 training images: batches have that many"


def test_few_validation_images_are_told_and_no_temperature_is_fitted_to_them(tmp_path: Path) -> None:
    """It would make probabilities worse, and their accuracy says next to nothing."""
    few = replace(tiny().data, validation_fraction=0.03)
    (warning,) = few_validation_warnings(run_of(tiny(data=few), tmp_path / "few"))
    assert warning.startswith("40 validation images tell accuracy to about 16 points")
    assert few_validation_warnings(run_of(tiny(), tmp_path / "enough")) == []
    folder = train(tiny(data=few), tmp_path / "run").folder
    assert json.loads((folder / "model" / "config.json").read_text())["temperature"] is None
