"""One step of training: from a batch to changed parameters."""

import math

from vision_transformers.config import first_of
from vision_transformers.data.batches import Batch
from vision_transformers.errors import Failure
from vision_transformers.evaluation.metrics import ClassificationSums
from vision_transformers.runtime.precision import autocast
from vision_transformers.training.advice import learning_rates
from vision_transformers.training.gradients import Gradients
from vision_transformers.training.not_finite import where_not_finite
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState

NAMED = 12
"""How many images an error names."""


def training_step(run: Run, state: TrainingState, gradients: Gradients, batch: Batch) -> ClassificationSums:
    """Takes the step number `state.step`, and counts it.

    Args:
        run: what stays the same.
        state: what changes.
        gradients: of the state's model.
        batch: images and labels of this step.

    Returns:
        The sums over the batch's images.

    Raises:
        Failure: the loss or the gradient is not finite; nothing was changed.
    """
    loss, correct, gradient_norm = gradients(batch, state.step).tolist()
    rate = run.rate_at(state.step)
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        with autocast(run.environment.precision, run.device):
            where = where_not_finite(state.model, batch.images.chunk(run.recipe.accumulation))
        failure = Failure(_not_finite(run, state.step, rate, loss, gradient_norm, where))
        failure.is_told = True  # all processes have the same sums
        raise failure
    state.optimizers.step(rate, record=gradients.stay_in_memory)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.gradient_norm = gradient_norm
    state.step += 1
    return ClassificationSums(run.order.batch_size, loss, int(correct))


def _not_finite(run: Run, step: int, rate: float, loss: float, gradient_norm: float, where: str) -> str:
    named = learning_rates(run.recipe, step < run.probe_steps)
    options = " or ".join(f"--{each.option}" for each in named)
    images = run.order.indices(step).tolist()
    names = first_of([run.data.train.name(index) for index in images], NAMED)
    return (
        f"step {step}: the loss is {loss / len(images):g} and the norm of the gradient "
        f"{gradient_norm:g}, at a learning rate of {run.recipe.optimizer.learning_rate * rate:g}. "
        f"The optimizer's step was not taken. {where} "
        f"Start a new run with a lower {options}, or a longer --schedule.warmup. "
        f"The batch has {len(images)} images: {names}"
    )
