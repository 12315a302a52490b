"""The loop: one straight line from the first step to the last."""

import signal
import time
from collections.abc import Iterator

import torch

from vision_transformers.data.batches import Batch, training_batches
from vision_transformers.data.images import Images
from vision_transformers.errors import DataFailure, ReadFailure
from vision_transformers.evaluation.metrics import ClassificationSums, evaluate
from vision_transformers.report.metrics import Row
from vision_transformers.runtime.compilation import compiled
from vision_transformers.training.freezing import freeze
from vision_transformers.training.gradients import Gradients, gradients_of
from vision_transformers.training.interruption import Interrupted, Interruption
from vision_transformers.training.journal import Journal
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState
from vision_transformers.training.step import training_step
from vision_transformers.training.waiting import SECONDS_WORTH_SAYING, Waiting, WaitingAdvice


def train_to_the_end(run: Run, state: TrainingState, journal: Journal) -> None:
    """Takes every step that is left, evaluates where the recipe says so, and writes checkpoints.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        DataFailure: an image cannot be decoded; the state is saved.
        Failure: a loss is not finite, a disk is full, ...
    """
    checkpoints = CheckpointClock(run)
    gradients = _begin_learning(run, state)
    with Interruption() as interruption:
        try:
            if state.step == 0:
                run.processes.together(journal.draw_first_batch)
            if state.sums.images and run.is_logged_at(state.step):
                # An image of this step's evaluation could not be decoded: see `_log`.
                _log(run, state, journal)
            waiting = Waiting()
            advice = run.processes.together(lambda: WaitingAdvice(run.recipe, run.training_images))
            for batch in _fetched_together(run, waiting.for_each(_batches(run, state))):
                if state.step == run.probe_steps > 0:
                    gradients = _begin_learning(run, state)
                sums = training_step(run, state, gradients, batch)
                waiting.step_done()
                state.sums += sums
                journal.stepped(state, sums, waiting.share)
                _log(run, state, journal)
                if waiting.tells and run.is_logged_at(state.step):
                    advice.give(waiting.share)
                # Read once: a signal that comes while this is decided waits for the next step.
                received, is_due = _agreed(run, interruption.signal, checkpoints.are_due(state.step))
                if received or is_due:
                    run.processes.together(lambda: journal.save(state))
                    checkpoints.saved()
                if received:
                    raise Interrupted(_go_on(run, f"stopped after step {state.step}"), received)
            if waiting.waited >= SECONDS_WORTH_SAYING:
                advice.give(waiting.share)
        except DataFailure as failure:
            run.processes.together(lambda: journal.save(state))
            advised = type(failure)(_after_repair(run, failure))
            advised.is_told = failure.is_told
            raise advised from failure


def _begin_learning(run: Run, state: TrainingState) -> Gradients:
    """Freezes what does not learn from this step on, and computes the gradients of the rest.

    While the head learns alone, nothing is compiled: PyTorch 2.10 and 2.11 would use what was compiled then
    for the rest, too, which gets no gradients there (pytorch/pytorch issue 139476).
    """
    probing = state.step < run.probe_steps
    freeze(state.model, run.recipe, probing)
    model = compiled(state.model, run.environment.compile and not probing)
    model.train()
    return gradients_of(run, model, run.objective())


def _log(run: Run, state: TrainingState, journal: Journal) -> None:
    """Writes and draws what there is to say after this step."""
    if run.is_logged_at(state.step):
        row = _learned(run, state)
        if run.is_evaluated_at(state.step):
            row |= _validated(run, state)
            if run.recipe.keep == "best":
                state.keep_if_best(row["validation_accuracy"])
                row["best_validation_accuracy"] = state.best_accuracy
            row |= _tested(run, state)
        run.processes.together(lambda: journal.write(row))
        # Only now: if an image could not be decoded, the state was saved with its sums, and the row is due.
        state.sums = ClassificationSums()
    if run.is_explained_at(state.step):
        run.processes.together(lambda: journal.draw_explanations(state))


class CheckpointClock:
    """Says when a checkpoint is due; when that is changes no result."""

    def __init__(self, run: Run) -> None:
        self.recipe = run.recipe
        self.total_steps = run.total_steps
        self.last = time.monotonic()

    def are_due(self, step: int) -> bool:
        """Whether to save after this many steps: by the clock, by steps, and at the end."""
        by_clock = 0 < self.recipe.checkpoint_seconds <= time.monotonic() - self.last
        by_steps = self.recipe.checkpoint_steps > 0 and step % self.recipe.checkpoint_steps == 0
        return by_clock or by_steps or step == self.total_steps

    def saved(self) -> None:
        """Starts the clock anew."""
        self.last = time.monotonic()


def _batches(run: Run, state: TrainingState) -> Iterator[Batch]:
    recipe = run.recipe
    return training_batches(
        run.training_images,
        recipe.preprocessing,
        recipe.augmentation,
        run.order,
        state.step,
        run.total_steps,
        run.device,
        recipe.data.workers,
    )


def _fetched_together(run: Run, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Each process's own; if one of them cannot have it, none has."""
    while (batch := run.processes.together(lambda: _next(batches))) is not None:
        yield batch


def _next(batches: Iterator[Batch]) -> Batch | None:
    try:
        return next(batches, None)
    except MemoryError as error:
        raise ReadFailure(
            f"the memory is not enough ({error}): try fewer --data.workers, or smaller pictures"
        ) from error


def _agreed(run: Run, received: signal.Signals | None, is_due: bool) -> tuple[signal.Signals | None, bool]:
    """The signal that any process has received, and whether the first process's clock says to save."""
    said = run.processes.hear_all(f"{int(received or 0)} {int(is_due)}" if received or is_due else "")
    numbers = [int(word.split()[0]) for word in said if word]
    signals = [signal.Signals(number) for number in numbers if number]
    return (signals[0] if signals else None), said[0].endswith("1")


def _learned(run: Run, state: TrainingState) -> Row:
    """What the steps since the last row tell."""
    rate = run.rate_at(state.step - 1)
    return {
        "step": state.step,
        "epoch": state.step / run.order.batches_per_epoch,
        **state.sums.means("train"),
        "learning_rate": run.recipe.optimizer.learning_rate * rate,
        "gradient_norm": state.gradient_norm,
    }


def _validated(run: Run, state: TrainingState) -> Row:
    """What the validation images tell, where there are some."""
    if run.data.validation is None:
        return {}
    return _evaluate(run, state.judged, run.data.validation).means("validation")


def _tested(run: Run, state: TrainingState) -> Row:
    """What the test images tell, where they are due: in the end of the weights that are kept."""
    is_last = state.step == run.total_steps
    if run.data.test is None or not (is_last or run.recipe.test == "validation"):
        return {}
    return _evaluate(run, state.kept() if is_last else state.judged, run.data.test).means("test")


def _evaluate(run: Run, model: torch.nn.Module, images: Images) -> ClassificationSums:
    """Over all images, of which each process takes its part."""
    batches = run.evaluation_batches(images, run.processes)
    own = run.processes.together(lambda: evaluate(model, batches, run.environment.precision))
    sums = torch.tensor([own.images, own.loss, own.correct], dtype=torch.float64)
    run.processes.add_up([sums])
    count, loss, correct = sums.tolist()
    return ClassificationSums(int(count), loss, int(correct))


def _after_repair(run: Run, failure: DataFailure) -> str:
    if isinstance(failure, ReadFailure):
        return _go_on(run, f"{failure}")
    return (
        f"{failure}\nThe run is saved. With a whole picture of the same name in its place, it goes on: "
        f"{run.resume_command} --allow-different-machine"
    )


def _go_on(run: Run, what_happened: str) -> str:
    return f"{what_happened}\nThe run is saved. To go on: {run.resume_command}"
