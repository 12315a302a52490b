"""Begin a run, or go on with one."""

import json
import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from vision_transformers.config import checked, first_of
from vision_transformers.data.loading import load_data
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.files import expanded
from vision_transformers.report.metrics import Row, read_metrics
from vision_transformers.runtime.device import as_current, resolve_device
from vision_transformers.runtime.memory import advising_on_memory
from vision_transformers.runtime.processes import Processes, joined_processes
from vision_transformers.training.advice import (
    batch_size_warnings,
    compiler_warnings,
    few_pictures_warnings,
    few_validation_warnings,
    frozen_warnings,
    learning_rate_warnings,
    memory_advice,
    precision_warnings,
    small_pictures_warnings,
)
from vision_transformers.training.alike import check_asked_alike, check_weights_alike
from vision_transformers.training.checkpoint import has_checkpoints, load_checkpoint
from vision_transformers.training.environment import (
    applied_environment,
    record_versions,
    resolve_environment,
    settle_environment,
)
from vision_transformers.training.finishing import finish
from vision_transformers.training.initial import load_initial_weights, settle_recipe
from vision_transformers.training.journal import Journal, KeptJournal, NoJournal
from vision_transformers.training.lineage import warn_of_tests_that_were_learned_from
from vision_transformers.training.loop import train_to_the_end
from vision_transformers.training.observer import Observer, Silent
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.record import FORMAT_VERSION, Environment, Record
from vision_transformers.training.run import Run
from vision_transformers.training.run_folder import (
    RunFolder,
    asked_otherwise,
    changed_fields,
    new_run_folder,
    settled_as,
    with_absolute_places,
)
from vision_transformers.training.state import TrainingState, initial_state
from vision_transformers.training.teacher import fingerprint_of, load_teacher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """Where a finished run lies, and what it measured last."""

    folder: Path
    metrics: Row


def train(recipe: Recipe, run_folder: Path | str | None = None, observer: Observer | None = None) -> Result:
    """Trains a model as a recipe says; the same as `vit train`.

    Called in each process that `torchrun` starts, it trains one model in all of them. The first one writes.

    Args:
        recipe: the whole description of the run.
        run_folder: where to; `runs/<recipe>-<time>-<4 hex>` if not given.
        observer: who watches; nobody if not given.

    Raises:
        Failure: what went wrong and what to do; its subclasses tell usage, data and interruption apart.
            So do words in the recipe that are not known, before anything is written.
    """
    processes, recipe = joined_processes(), checked(recipe)
    path = processes.hear_first(str(expanded(run_folder or new_run_folder(recipe).path)))
    run, images = processes.after_the_first(lambda: _new_run(recipe, RunFolder(Path(path)), processes))

    check_asked_alike(run)

    def begin() -> None:
        command = tuple(sys.argv)
        versions, found = record_versions(), run.data.description
        record = Record(FORMAT_VERSION, run.recipe, images, (run.environment,), versions, command, found)
        run.folder.begin(record)
        warn_of_tests_that_were_learned_from(record, run.data)

    with processes.by_the_first(run.folder.lock) or nullcontext():
        processes.by_the_first(begin)
        return _go(run, observer or Silent())


def _new_run(recipe: Recipe, folder: RunFolder, processes: Processes) -> tuple[Run, str]:
    """The run, of which nothing is written yet, and the hash of its images."""
    if folder.is_begun:
        raise UsageFailure(f"{folder.path} holds a run already. To go on with it: {folder.resume_command}")
    folder.refuse_other_files()
    # Not where recipes are checked: runs were begun with such, and are to be read and resumed.
    if recipe.frozen == "body" and recipe.probe.fraction:
        raise UsageFailure("probe lets the head learn first, then all: leave it out, or frozen 'body'")
    if recipe.init is None and recipe.init_format != "native":
        raise UsageFailure(
            f"init_format is {recipe.init_format!r}, but there are no weights to begin with: "
            "add --init SOURCE, or leave it out"
        )
    resolve_device(recipe.device)  # here, for a large folder takes a while to list
    recipe = settle_recipe(recipe)
    # These name places in errors as they were typed.
    data = load_data(recipe.data, recipe.preprocessing)
    teacher = load_teacher(recipe, data.classes)
    recipe = with_absolute_places(recipe)
    environment = resolve_environment(recipe, data.fingerprint, processes.count, fingerprint_of(teacher))
    run = Run(recipe, environment, data, folder, processes, teacher)
    _check(run)
    if recipe.probe.fraction and not 0 < run.probe_steps < run.total_steps:  # as above, of new runs alone
        left_out, remedy = ("the rest", "less") if run.probe_steps else ("the head alone", "more")
        raise UsageFailure(
            f"probe.fraction is {recipe.probe.fraction}: of {run.total_steps} steps it leaves none to "
            f"{left_out}. Give {remedy}, or more steps"
        )
    warnings = [
        *learning_rate_warnings(recipe),
        *frozen_warnings(recipe),
        *precision_warnings(run),
        *compiler_warnings(run),
        *few_pictures_warnings(run),
        *small_pictures_warnings(run),
        *few_validation_warnings(run),
        *batch_size_warnings(run),
    ]
    for warning in warnings:
        logger.warning("%s", warning)
    return run, data.listing


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
        Failure: machine, data or teacher differ; and whatever `train` raises.
    """
    processes = joined_processes()
    folder = RunFolder(expanded(run_folder))
    record, recipe = processes.after_the_first(lambda: _recorded(folder, recipe))
    if processes.the_first_finds(lambda: folder.is_finished):
        return _result(folder, processes)
    run = processes.after_the_first(
        lambda: _run_to_go_on(record, recipe, folder, processes, allow_different_machine)
    )

    check_asked_alike(run)

    def note() -> None:
        if (gone_on := _gone_on(record, recipe, run.environment)) != record:
            folder.write(gone_on)

    with processes.by_the_first(folder.lock) or nullcontext():
        processes.by_the_first(note)
        return _go(run, observer or Silent())


def _recorded(folder: RunFolder, asked: Recipe | None) -> tuple[Record, Recipe]:
    """What a run was begun with, and the recipe to go on with."""
    record = folder.record()
    recipe = with_absolute_places(settled_as(record.recipe, asked or record.recipe))
    if changed := changed_fields(record.recipe, recipe):
        listed = [f"{name} was {before!r} (now {now!r})" for name, before, now in changed]
        raise UsageFailure(
            f"{folder.path} was begun with another recipe: {first_of(listed)}. "
            "To go on, leave these options out; or start a new run"
        )
    if folder.is_finished and (otherwise := asked_otherwise(record, recipe)):
        name, before, now = otherwise[0]
        raise UsageFailure(
            f"{folder.path} is finished, with {name} {before!r}, and {now!r} is asked for: "
            "start a new run for it"
        )
    return record, recipe


def _run_to_go_on(
    record: Record, recipe: Recipe, folder: RunFolder, processes: Processes, allow_different_machine: bool
) -> Run:
    """The run, if data, teacher and machine are those that it was begun with."""
    data = load_data(recipe.data, recipe.preprocessing)
    if data.listing != record.images:
        were = "" if record.found is None else f"\n  {record.found} before\n  {data.description} now"
        raise DataFailure(
            f"there are other images, or other names of them, than when {folder.path} was begun:{were}\n"
            "Others would be held out than before, which no option allows: put back what was there, "
            "or start a new run"
        )
    teacher = load_teacher(recipe, data.classes)
    found = resolve_environment(recipe, data.fingerprint, processes.count, fingerprint_of(teacher))
    environment = settle_environment(record.environments[-1], found, allow_different_machine)
    run = Run(recipe, environment, data, folder, processes, teacher)
    _check(run)
    return run


def _gone_on(record: Record, recipe: Recipe, environment: Environment) -> Record:
    """The record with the places where the run goes on, and with what may be asked for otherwise than before.

    So whoever goes on next need not ask for it again; the number of threads stays what was recorded.
    """
    recipe = replace(recipe, threads=record.recipe.threads)
    passed = record.environments
    environments = passed if environment == passed[-1] else (*passed, environment)
    return replace(record, recipe=recipe, environments=environments)


def _check(run: Run) -> None:
    """Meets what cannot be before anything is written."""
    run.model_config  # noqa: B018 - these say what does not fit
    run.order  # noqa: B018
    run.device  # noqa: B018
    layers = run.model_config.number_of_layers
    if run.recipe.frozen_layers > layers:
        raise UsageFailure(f"frozen_layers is {run.recipe.frozen_layers}: the model has {layers} layers")
    rank, width = run.recipe.low_rank.rank, run.model_config.model_dimension
    if rank > width:
        raise UsageFailure(
            f"low_rank.rank is {rank}, more than the model's width of {width}: give a smaller one, such as 8"
        )
    if (
        rank
        and set(run.recipe.low_rank.parts) <= {"projection"}
        and not run.model_config.attention_projection
    ):
        raise UsageFailure("low_rank.parts is projection, and this model's attention has none: give others")
    if run.recipe.keep == "best" and run.data.validation is None:
        raise UsageFailure(
            "keep is 'best', but there are no validation images to choose by: "
            "add a folder val, or set --data.validation-fraction above 0"
        )


def _go(run: Run, observer: Observer) -> Result:
    """From wherever the run is to its end."""
    with (
        applied_environment(run.environment, run.recipe.deterministic),
        as_current(run.device),
        advising_on_memory(lambda: memory_advice(run)),
    ):
        return _train_and_finish(run, observer)


def _train_and_finish(run: Run, observer: Observer) -> Result:
    state = initial_state(run.recipe, run.model_config, run.device)
    begun = run.processes.the_first_finds(lambda: has_checkpoints(run.folder.checkpoints))
    if run.processes.is_first and not begun and run.folder.metrics.exists():
        logger.warning("%s has no checkpoint to go on from: the run begins anew", run.folder.path)
    metrics_bytes = run.processes.after_the_first(lambda: load_checkpoint(run.folder.checkpoints, state))
    if run.recipe.init is not None and not begun:
        run.processes.together(lambda: load_initial_weights(run, state))
    check_weights_alike(run, state)
    with run.processes.together(lambda: _journal(run, state, metrics_bytes, observer)) as journal:
        if run.recipe.init is not None and not begun:
            # From here on the run needs nothing but its own folder.
            run.processes.together(lambda: journal.save(state))
        observer.begins(run.folder.path, run.data.description, state.step, run.total_steps)
        train_to_the_end(run, state, journal)
    run.processes.by_the_first(lambda: finish(run, state))
    return _result(run.folder, run.processes)


def _result(folder: RunFolder, processes: Processes) -> Result:
    """As the first process reads it: the others may not see its disk."""
    row = processes.by_the_first(lambda: read_metrics(folder.metrics)[-1])
    return Result(folder.path, json.loads(processes.hear_first(json.dumps(row))))


def _journal(run: Run, state: TrainingState, metrics_bytes: int, observer: Observer) -> Journal:
    if run.processes.is_first:
        return KeptJournal(run, state.step + 1, metrics_bytes, observer)
    return NoJournal()
