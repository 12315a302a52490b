"""The folder of a run: made, found again, locked, and read back.

recipe.json         everything that was asked for, and what it came to on the machine
metrics.jsonl       the truth: a row after each `log_steps` steps and with each validation
timing.jsonl        what the clock says
metrics.csv         metrics.jsonl for spreadsheets
plots/              curves and sheets
checkpoints/        where to go on from
low-rank/           low-rank matrices and head alone, where the recipe has such matrices
model/              the finished model; it comes last, so it says that the run is finished
"""

import logging
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

from vision_transformers.config import differences, first_of, from_json, to_json
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import (
    TEMPORARY,
    expanded,
    explained,
    lock,
    read_json,
    sweep_temporary,
    write_json,
)
from vision_transformers.training.recipe import (
    CANNOT_CHANGE_THE_RESULT,
    LEFT_TO_THE_MACHINE,
    RESOLVED_BY_THE_MACHINE,
    Recipe,
)
from vision_transformers.training.record import FORMAT_VERSION, Record
from vision_transformers.weights.places import HUB

RUNS = Path("runs")
_LOCK = "lock"

Content = TypeVar("Content")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, for its files by name."""

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        return self.path / "timing.jsonl"

    @property
    def table(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def low_rank(self) -> Path:
        return self.path / "low-rank"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def resume_command(self) -> str:
        """What to type to go on."""
        return f"vit train --resume {shlex.quote(str(self.path))}"

    @property
    def is_begun(self) -> bool:
        """Whether it holds a recipe: whether there is anything to resume."""
        return (self.path / "recipe.json").exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run reached its end."""
        return self.model.exists()

    def lock(self) -> IO[bytes]:
        """Makes the folder if need be, and takes it for this process.

        Raises:
            Failure: another process is writing it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = lock(self.path / _LOCK)
        except OSError as error:
            raise explained(error, self.path) from error
        for folder in (self.path, self.plots, self.checkpoints):
            sweep_temporary(folder)
        return held

    def refuse_other_files(self) -> None:
        """Meets what a run must not lie beside, before anything is made or swept away.

        Raises:
            UsageFailure: the folder holds something else.
        """
        if os.path.exists(self.path) and not self.path.is_dir():
            raise UsageFailure(f"{self.path} is a file: choose another --run-folder")
        if not self.path.is_dir():
            return
        foreign = [path.name for path in self.path.iterdir() if not _may_be_left_of_a_run(path)]
        if foreign:
            raise UsageFailure(
                f"{self.path} holds other files ({first_of(sorted(foreign))}) and no run: "
                "choose another --run-folder"
            )

    def begin(self, record: Record) -> None:
        """Writes what was asked for into a new folder.

        Raises:
            UsageFailure: the folder holds a run, or something else.
        """
        if self.is_begun:
            raise UsageFailure(f"{self.path} holds a run already. To go on with it: {self.resume_command}")
        self.refuse_other_files()
        self.write(record)

    def write(self, record: Record) -> None:
        """Writes what was asked for, in place of what stands there."""
        write_json(self.path / "recipe.json", to_json(record))

    def record(self) -> Record:
        """Reads what was asked for.

        Raises:
            UsageFailure: the folder holds no run, or a recipe with fields or values that are unknown here.
            Failure: it is in a format of another release, or `recipe.json` cannot be read.
        """
        if not self.path.is_dir():
            raise UsageFailure(f"there is no run folder {self.path}")
        if not self.is_begun:
            raise UsageFailure(f"{self.path} holds no run (recipe.json is missing): give a folder that does")
        content = read_json(self.path / "recipe.json")
        if isinstance(content, dict) and content.get("format_version") != FORMAT_VERSION:
            raise Failure(
                f"{self.path / 'recipe.json'} has format version {content.get('format_version')}; "
                f"this release reads {FORMAT_VERSION}"
            )
        try:
            record = from_json(Record, content)
        except UsageFailure as failure:
            raise UsageFailure(f"{self.path / 'recipe.json'}: {failure}") from failure
        if not record.environments:
            raise Failure(f"{self.path / 'recipe.json'} is damaged: it does not say where the run began")
        return record


def _may_be_left_of_a_run(path: Path) -> bool:
    """What a kill leaves before the recipe is there; a temporary folder is another command's."""
    return path.name == _LOCK or (path.name.startswith(TEMPORARY) and path.is_file())


def new_run_folder(recipe: Recipe) -> RunFolder:
    """A name that no other run has: runs/<recipe>-<yyyymmdd-hhmmss>-<4 hex>."""
    return RunFolder(RUNS / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")


def newest_run(recipe: Recipe, on_any_machine: bool = False) -> RunFolder | None:
    """The newest run under `runs/` of this recipe and seed, or None.

    One whose recipe cannot be read, as from another release, is named and passed over.

    Args:
        recipe: what is asked for.
        on_any_machine: whether it may have been on another device, or compiled where this is not.
    """
    same = []
    recipe = with_absolute_places(recipe)
    folders = [RunFolder(path.parent) for path in RUNS.glob("*/recipe.json")]
    for folder, record in each_readable(folders, RunFolder.record):
        # On images, or by a teacher, elsewhere it is another run, unless a person says that they have moved.
        otherwise = {name for name, _, _ in asked_otherwise(record, recipe)}
        if on_any_machine:
            otherwise -= {"device", "compile"}
        is_same = not (changed_fields(record.recipe, recipe) or otherwise)
        begun = with_absolute_places(record.recipe)
        places = (begun.data.path, begun.teacher.source)
        if is_same and places == (recipe.data.path, recipe.teacher.source):
            same.append(folder)
    return max(same, key=lambda folder: (folder.path / "recipe.json").stat().st_mtime_ns, default=None)


def each_readable(
    folders: Iterable[RunFolder], read: Callable[[RunFolder], Content]
) -> Iterator[tuple[RunFolder, Content]]:
    """The runs of which this can be read, with it; any other is named and passed over."""
    for folder in folders:
        try:
            content = read(folder)
        except Failure as failure:
            logger.warning("the run %s is passed over: %s", folder.path, failure)
        else:
            yield folder, content


def with_absolute_places(recipe: Recipe) -> Recipe:
    """The recipe with the places of its images and of its teacher as every working folder knows them."""
    data = replace(recipe.data, path=_absolute(recipe.data.path), root=_absolute(recipe.data.root))
    return replace(
        recipe, data=data, teacher=replace(recipe.teacher, source=_absolute(recipe.teacher.source))
    )


def _absolute(place: str | None) -> str | None:
    if place is None or place.startswith(HUB):
        return place
    return str(expanded(place).resolve())


def _same_place(recorded: str, asked: str | None) -> bool:
    """Whether what is asked for is what was recorded, which has no relative paths."""
    return asked is not None and recorded in (asked, _absolute(asked))


def settled_as(recorded: Recipe, asked: Recipe) -> Recipe:
    """What is asked for, with the model and preprocessing that weights decided when the run was begun.

    Where it does not begin with the weights of the recorded recipe, it stays as it is.
    """
    if recorded.init is None or not _same_place(recorded.init, asked.init):
        return asked
    model = replace(
        recorded.model, dropout=asked.model.dropout, stochastic_depth=asked.model.stochastic_depth
    )
    return replace(asked, init=recorded.init, model=model, preprocessing=recorded.preprocessing)


def changed_fields(recorded: Recipe, asked: Recipe) -> list[tuple[str, Any, Any]]:
    """The fields that differ, of those that can change the result, with both values.

    A teacher may lie elsewhere: whether it is the same one is told by its fingerprint.
    """
    harmless = CANNOT_CHANGE_THE_RESULT | RESOLVED_BY_THE_MACHINE
    if None not in (recorded.teacher.source, asked.teacher.source):
        harmless |= {"teacher.source"}
    found = differences(recorded, settled_as(recorded, asked))
    return [each for each in found if each[0] not in harmless]


def asked_otherwise(record: Record, asked: Recipe) -> list[tuple[str, str, str]]:
    """What is asked for, and not left to the machine, that the run neither asked for nor came to.

    Returns:
        Each field's name, what the run came to, and what is asked for.
    """
    environment = record.environments[-1]
    came_to = {
        "device": environment.device.removesuffix(":0"),
        "precision": environment.precision,
        "compile": "on" if environment.compile else "off",
    }
    return [
        (name, found, value)
        for name, found in came_to.items()
        if (value := getattr(asked, name).removesuffix(":0"))
        not in (*LEFT_TO_THE_MACHINE, getattr(record.recipe, name), found)
    ]
