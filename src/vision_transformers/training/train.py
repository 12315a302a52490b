"""Begin a run, or go on with one."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from vision_transformers.data.batches import training_batches
from vision_transformers.data.loading import load_data
from vision_transformers.data.mixing import mix
from vision_transformers.errors import UsageFailure
from vision_transformers.files import write_folder
from vision_transformers.report.curves import draw_curves
from vision_transformers.report.metrics import Row, read_metrics, write_csv
from vision_transformers.report.sheet import image_sheet, write_png
from vision_transformers.training.checkpoint import load_checkpoint
from vision_transformers.training.environment import (
    apply_environment,
    record_versions,
    resolve_environment,
    settle_environment,
)
from vision_transformers.training.journal import Journal
from vision_transformers.training.loop import train_to_the_end
from vision_transformers.training.observer import Observer, Silent
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.record import FORMAT_VERSION, Record
from vision_transformers.training.run import Run
from vision_transformers.training.run_folder import RunFolder, changed_fields, new_run_folder
from vision_transformers.training.state import TrainingState, initial_state
from vision_transformers.weights.model_folder import write_model


@dataclass(frozen=True)
class Result:
    """Where a finished run lies, and what it measured last."""

    folder: Path
    metrics: Row


def train(recipe: Recipe, run_folder: Path | str | None = None, observer: Observer | None = None) -> Result:
    """Trains a model as a recipe says; the same as `vit train`.

    Args:
        recipe: the whole description of the run.
        run_folder: where to; `runs/<recipe>-<time>-<4 hex>` if not given.
        observer: who watches; nobody if not given.

    Raises:
        Failure: what went wrong and what to do; its subclasses tell usage, data and interruption apart.
    """
    folder = new_run_folder(recipe) if run_folder is None else RunFolder(Path(run_folder))
    if folder.is_begun:
        raise UsageFailure(f"{folder.path} holds a run already. To go on with it: {folder.resume_command}")
    data = load_data(recipe.data, recipe.preprocessing)
    run = Run(recipe, resolve_environment(recipe, data.fingerprint), data, folder)
    _check(run)
    with folder.lock():
        folder.begin(Record(FORMAT_VERSION, recipe, run.environment, record_versions(), tuple(sys.argv)))
        return _go(run, observer or Silent())


def resume(
    run_folder: Path | str,
    recipe: Recipe | None = None,
    allow_different_machine: bool = False,
    observer: Observer | None = None,
) -> Result:
    """Goes on with a run from its newest whole checkpoint; one that is finished stays as it is.

    Args:
        run_folder: the run.
        recipe: the recipe again, perhaps with other values in fields that cannot change the result.
        allow_different_machine: whether to go on where the same bytes cannot be promised.
        observer: who watches; nobody if not given.

    Raises:
        UsageFailure: there is no such run, or the recipe differs; names the fields.
        Failure: machine or data differ; and whatever `train` raises.
    """
    folder = RunFolder(Path(run_folder))
    record = folder.record()
    recipe = recipe or record.recipe
    if changed := changed_fields(record.recipe, recipe):
        raise UsageFailure(
            f"{folder.path} was begun with another recipe: {', '.join(changed)} differs. "
            "Leave that option out to go on, or start a new run"
        )
    if folder.is_finished:
        return Result(folder.path, read_metrics(folder.metrics)[-1])
    data = load_data(recipe.data, recipe.preprocessing)
    found = resolve_environment(recipe, data.fingerprint)
    environment = settle_environment(record.environment, found, allow_different_machine)
    run = Run(recipe, environment, data, folder)
    _check(run)
    with folder.lock():
        return _go(run, observer or Silent())


def _check(run: Run) -> None:
    """Meets what cannot be before anything is written."""
    run.model_config  # noqa: B018 - both say what does not fit
    run.order  # noqa: B018
    if run.recipe.keep == "best" and run.data.validation is None:
        raise UsageFailure(
            "keep is 'best', but there are no validation images to choose by: "
            "add a folder val, or set --data.validation-fraction above 0"
        )


def _go(run: Run, observer: Observer) -> Result:
    """From wherever the run is to its end."""
    apply_environment(run.environment, run.recipe.deterministic)
    state = initial_state(run.recipe, run.model_config, run.device)
    metrics_bytes = load_checkpoint(run.folder.checkpoints, state)
    observer.begins(run.folder.path, run.data.description, state.step, run.total_steps)
    with Journal(run, state.step + 1, metrics_bytes, observer) as journal:
        if state.step == 0:
            _draw_first_batch(run, journal)
        train_to_the_end(run, state, journal)
    return _finish(run, state)


def _finish(run: Run, state: TrainingState) -> Result:
    """Writes what a person looks at, then the model folder, which says that the run is finished."""
    rows = read_metrics(run.folder.metrics)
    write_csv(rows, run.folder.table)
    draw_curves(rows, run.folder.plots / "curves.png", f"{run.recipe.name}, seed {run.recipe.seed}")
    description = run.describe_model(metrics=rows[-1])
    weights = state.kept().state_dict()
    write_folder(run.folder.model, lambda path: write_model(path, weights, description))
    return Result(run.folder.path, rows[-1])


def _draw_first_batch(run: Run, journal: Journal) -> None:
    """The first training images as the model sees them: a wrong augmentation shows here first."""
    recipe = run.recipe
    batch = next(
        training_batches(
            run.training_images, recipe.preprocessing, recipe.augmentation, run.order, 0, 1, run.device, 0
        )
    )
    targets = run.objective().targets(batch.labels)
    images, _ = mix(batch.images, targets, recipe.augmentation, recipe.seed, 0, 0)
    mean = torch.tensor(recipe.preprocessing.mean, device=run.device)[:, None, None]
    std = torch.tensor(recipe.preprocessing.std, device=run.device)[:, None, None]
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    captions = [run.data.classes[label] for label in batch.labels.tolist()]
    sheet: numpy.ndarray = image_sheet(pixels, captions)
    run.folder.plots.mkdir(exist_ok=True)
    write_png(run.folder.plots / "first_batch.png", sheet)
    journal.board.image("first_batch", sheet, 0)
