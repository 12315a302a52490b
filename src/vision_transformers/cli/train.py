"""`vit train [RECIPE] [OPTIONS]`: parse, train, say where things are."""

import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from vision_transformers.data.source import DataSource
from vision_transformers.errors import UsageFailure
from vision_transformers.recipes.finetune import Choice, Learns, finetune_on
from vision_transformers.recipes.table import RECIPES, find_recipe
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.run_folder import RunFolder, newest_run

if TYPE_CHECKING:
    from vision_transformers.training.train import Result


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class TrainOptions:
    """A recipe, with any of its fields changed, and where the run lies."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    run_folder: Path | None = None
    """Where to write; runs/<recipe>-<time>-<4 hex> if not given."""
    resume: str | None = None
    """A run to go on with, or `auto`: the newest of the same recipe and seed, else a new one."""
    allow_different_machine: bool = False
    """Go on where another machine, version or data set cannot promise the same bytes."""


def main(arguments: list[str]) -> int:
    """Trains as the arguments say; returns the exit code."""
    options = parse(arguments)
    folder = _folder_to_resume(options)
    if folder is not None and folder.is_finished:
        print(f"{folder.path} is finished already.")
    if folder is None:
        _print_choices(options, arguments)
    _print_result(_train(options, folder))
    return 0


def parse(arguments: list[str]) -> TrainOptions:
    """Reads the options; a recipe's own values, or those of the run to resume, are the defaults.

    Raises:
        UsageFailure: an unknown recipe, no such run, or values that contradict each other.
    """
    description = f"Train a Vision Transformer. Recipes: {', '.join(RECIPES)}; digits if none is named."
    try:
        recipe, rest = _recipe_before_options(arguments)
        default = TrainOptions(recipe)
        return tyro.cli(
            TrainOptions, prog="vit train [RECIPE]", description=description, args=rest, default=default
        )
    except ValueError as error:
        raise UsageFailure(str(error)) from error


def _recipe_before_options(arguments: list[str]) -> tuple[Recipe, list[str]]:
    """The recipe that options change: the one named first, that of the run to resume, or digits."""
    named = arguments[0] if arguments and not arguments[0].startswith("-") else None
    rest = arguments if named is None else arguments[1:]
    resumed = _value_of("--resume", rest)
    if resumed is not None and resumed != "auto":
        if named is not None:
            raise UsageFailure("give a recipe or --resume RUN, not both: a run knows its recipe")
        return RunFolder(Path(resumed)).record().recipe, rest
    path = _value_of("--data.path", rest)
    if named == "finetune" and path is not None and _value_of("--init", rest) is not None:
        return _finetune_on(path, rest)[0], rest
    return find_recipe(named or "digits"), rest


def _finetune_on(path: str, arguments: list[str]) -> tuple[Recipe, tuple[Choice, ...]]:
    """The recipe that fits the pictures which lie there, and to what a person said of it."""
    from vision_transformers.data.folder import count_training_images

    given = DataSource(name="folder", path=path)
    source = replace(
        given,
        validation_fraction=_number_of("--data.validation-fraction", arguments, given.validation_fraction),
        test_fraction=_number_of("--data.test-fraction", arguments, given.test_fraction),
    )
    images, classes = count_training_images(source)
    batch_size = _number_of("--batch-size", arguments, 0) or None
    return finetune_on(max(images, 1), classes, _learns(arguments), batch_size)


def _learns(arguments: list[str]) -> Learns | None:
    """What learns, as far as a person has said so."""
    if _value_of("--frozen", arguments) is not None or _value_of("--frozen-layers", arguments) is not None:
        return "head" if _value_of("--frozen", arguments) == "body" else "all"
    if _value_of("--low-rank.rank", arguments) is not None:
        return "matrices"
    return "all" if _number_of("--probe.fraction", arguments, 0.0) > 0 else None


def _print_choices(options: TrainOptions, arguments: list[str]) -> None:
    """What the number of pictures decided, and a person did not."""
    path = options.recipe.data.path
    if options.recipe.name == "finetune" and path is not None:
        for choice in _finetune_on(path, arguments)[1]:
            said_by = (choice.option, "steps") if choice.option == "epochs" else (choice.option,)
            if all(_value_of(f"--{option}", arguments) is None for option in said_by):
                print(f"chosen         --{choice.option} {choice.value}: {choice.reason}")


def _number_of(option: str, arguments: list[str], default: Number) -> Number:
    """What a person gave, if it is such a number; if not, that is said where all options are read."""
    try:
        return type(default)(_value_of(option, arguments) or default)
    except ValueError:
        return default


def _value_of(option: str, arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def _folder_to_resume(options: TrainOptions) -> RunFolder | None:
    if options.recipe.name == "finetune" and options.recipe.init is None:
        raise UsageFailure("say which weights to begin with: --init SOURCE, and --init-format if not native")
    if options.resume is None:
        return None
    if options.resume != "auto":
        if options.run_folder is not None:
            raise UsageFailure("give --run-folder or --resume RUN, not both: a run stays in its folder")
        return RunFolder(Path(options.resume))
    if options.run_folder is None:
        return newest_run(options.recipe)
    folder = RunFolder(options.run_folder)
    return folder if folder.is_begun else None


def _train(options: TrainOptions, folder: RunFolder | None) -> "Result":
    from vision_transformers.cli.terminal import watch
    from vision_transformers.training.train import resume, train

    with watch() as observer:
        if folder is None:
            return train(options.recipe, options.run_folder, observer)
        return resume(folder.path, options.recipe, options.allow_different_machine, observer)


def _print_result(result: "Result") -> None:
    metrics = result.metrics
    for part in ("validation", "test"):
        if f"{part}_accuracy" in metrics:
            print(f"{part} accuracy {metrics[f'{part}_accuracy']:.2%}, loss {metrics[f'{part}_loss']:.4f}")
    print(f"run folder     {result.folder}")
    print(f"model folder   {result.folder / 'model'}")
    print(f"curves         {result.folder / 'plots' / 'curves.png'}")
    print(f"next           {_typed('vit')} evaluate {shlex.quote(str(result.folder))} {_data(result.folder)}")
    print(f"               {_typed('tensorboard')} --logdir {shlex.quote(str(result.folder.parent))}")
    print(f"               {_typed('vit')} train --help")


def _data(folder: Path) -> str:
    """What a run was trained on, as `vit evaluate` asks for it."""
    data = RunFolder(folder).record().recipe.data
    return data.name if data.path is None else shlex.quote(data.path)


def _typed(command: str) -> str:
    """How to call a command that was installed beside this one: by its name, where the shell finds it."""
    return command if shutil.which(command) else str(Path(sys.argv[0]).with_name(command))
