"""One step of training: from a batch to changed parameters."""

import math

import torch
from torch import Tensor, nn

from vision_transformers.data.batches import Batch
from vision_transformers.data.mixing import mix
from vision_transformers.errors import Failure
from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.randomness import derive_seed
from vision_transformers.runtime.precision import autocast
from vision_transformers.training.objective import Objective
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState


def training_step(
    run: Run, state: TrainingState, model: nn.Module, objective: Objective, batch: Batch
) -> ClassificationSums:
    """Takes the step number `state.step`, and counts it.

    Args:
        run: what stays the same.
        state: what changes.
        model: `state.model`, perhaps compiled.
        objective: what is minimised.
        batch: images and labels of this step.

    Returns:
        The sums over the batch's images.

    Raises:
        Failure: the loss or the gradient is not finite; nothing was changed.
    """
    sums = _accumulate_gradients(run, state, model, objective, batch)
    rate = run.rate_at(state.step)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), run.recipe.optimizer.clip or math.inf)
    loss, correct, gradient_norm = torch.stack([*sums, norm]).tolist()
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        raise Failure(_not_finite(run, state.step, rate, loss, gradient_norm, batch))
    state.optimizers.step(rate)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.gradient_norm = gradient_norm
    state.step += 1
    return ClassificationSums(len(batch.labels), loss, int(correct))


def _accumulate_gradients(
    run: Run, state: TrainingState, model: nn.Module, objective: Objective, batch: Batch
) -> tuple[Tensor, Tensor]:
    """The gradient of the mean loss of a batch, computed in parts; gives the sums of losses and hits."""
    recipe = run.recipe
    loss_sum = torch.zeros((), device=run.device)
    correct = torch.zeros((), device=run.device)
    parts = zip(batch.images.chunk(recipe.accumulation), batch.labels.chunk(recipe.accumulation), strict=True)
    for part, (images, labels) in enumerate(parts):
        torch.manual_seed(derive_seed(recipe.seed, "step", state.step, part))
        targets = objective.targets(labels)
        mixed, targets = mix(images, targets, recipe.augmentation, recipe.seed, state.step, part)
        with autocast(run.environment.precision, run.device):
            logits = model(mixed)
        loss = objective(logits, targets)
        (loss / recipe.accumulation).backward()
        loss_sum += loss.detach() * len(labels)
        correct += (logits.detach().argmax(dim=1) == labels).sum()
    return loss_sum, correct


def _not_finite(run: Run, step: int, rate: float, loss: float, gradient_norm: float, batch: Batch) -> str:
    names = ", ".join(run.data.train.name(index) for index in batch.indices.tolist())
    return (
        f"step {step}: the loss is {loss / len(batch.labels):g} and the norm of the gradient "
        f"{gradient_norm:g}, at a learning rate of {run.recipe.optimizer.learning_rate * rate:g}. "
        "The optimizer's step was not taken. "
        "Try a lower --optimizer.learning-rate, or a longer --schedule.warmup. "
        f"The batch has {len(batch.labels)} images: {names}"
    )
