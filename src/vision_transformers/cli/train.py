"""`vit train [RECIPE] [OPTIONS]`: parse, train, say where things are."""

import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from vision_transformers.cli.familiar_options import tell_familiar_options
from vision_transformers.cli.familiar_presets import tell_familiar_preset
from vision_transformers.cli.idle_options import refuse_idle_options
from vision_transformers.data.source import DataSource
from vision_transformers.errors import UsageFailure
from vision_transformers.files import expanded
from vision_transformers.recipes.finetune import Choice, Learns, finetune_on
from vision_transformers.recipes.table import RECIPES, find_recipe, with_image_shape, with_preset
from vision_transformers.runtime.torchrun import place_of_this_process
from vision_transformers.training.observer import Observer, Silent
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.run_folder import RunFolder, newest_run

if TYPE_CHECKING:
    from vision_transformers.training.train import Result


Number = TypeVar("Number", int, float)

WITHOUT_WEIGHTS = ("model.dropout", "model.stochastic-depth")
"""What of the model stays the recipe's where a run begins with somebody's weights."""


@dataclass(frozen=True)
class TrainOptions:
    """A recipe, with any of its fields changed, and where the run lies."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    preset: str | None = None
    """A model by its name, as `vit models` lists them, in place of the recipe's; with its size of images."""
    image_shape: tuple[int, int] | None = None
    """Rows and columns of pixels to learn at, in place of the recipe's or the preset's."""
    run_folder: Path | None = None
    """Where to write; runs/<recipe>-<time>-<4 hex> if not given."""
    resume: str | None = None
    """A run to go on with, or `auto`: the newest of the same recipe and seed, else a new one."""
    allow_different_machine: bool = False
    """Go on where another machine, version or content of the files cannot promise the same bytes."""


@dataclass(frozen=True)
class CommandLine:
    """What was typed, as far as it decides on the recipe whose fields all options then change."""

    recipe: str | None
    """The one that is named first."""
    options: list[str]

    @classmethod
    def of(cls, arguments: list[str]) -> "CommandLine":
        """Divides arguments into the recipe and the options."""
        if arguments and not arguments[0].startswith("-"):
            return cls(arguments[0], arguments[1:])
        return cls(None, arguments)

    @property
    def names(self) -> list[str]:
        """The options that were typed, as the help spells them."""
        return [name for name in map(_name, self.options) if name is not None]

    def value(self, option: str) -> str | None:
        """What was given to an option, the last time; None where it was not."""
        found = None
        for argument, following in zip_longest(self.options, self.options[1:]):
            if _name(argument) == option:
                _, has_value, value = argument.partition("=")
                found = value if has_value else following
        return found

    def number(self, option: str, default: Number) -> Number:
        """What was given, if it is such a number; if not, that is said where all options are read."""
        try:
            return type(default)(self.value(option) or default)
        except ValueError:
            return default


def _name(argument: str) -> str | None:
    """The option that an argument is, as the help spells it; None for a value."""
    name = argument.partition("=")[0].replace("_", "-")  # tyro takes both
    return name.removeprefix("--") if name.startswith("--") else None


def main(arguments: list[str]) -> int:
    """Trains as the arguments say; returns the exit code."""
    typed = CommandLine.of(arguments)
    place = place_of_this_process()
    if place.count > 1:
        options, choices, folder = _read_together(typed)
    else:
        options, choices = parse(typed)
        folder = _folder_to_resume(options, typed)
    was_finished = folder is not None and folder.is_finished
    if not place.is_first:
        _train(options, folder, Silent())
        return 0
    result = _watched(options, folder, () if folder is not None else _chosen(choices, typed))
    if was_finished:
        print(f"{result.folder} is finished already.")
    _print_result(result)
    return 0


def _read_together(typed: CommandLine) -> tuple[TrainOptions, tuple[Choice, ...], RunFolder | None]:
    """The options, in each process its own, and the run to go on with, which the first one finds."""
    from vision_transformers.runtime.processes import joined_processes

    processes = joined_processes()
    options, choices = processes.together(lambda: parse(typed))
    folder = processes.by_the_first(lambda: _folder_to_resume(options, typed))
    path = processes.hear_first("" if folder is None else str(folder.path))
    return options, choices, RunFolder(Path(path)) if path else None


def parse(typed: CommandLine) -> tuple[TrainOptions, tuple[Choice, ...]]:
    """Reads the options; a recipe's own values, or those of the run to resume, are the defaults.

    Returns:
        The options, and what the number of pictures decided before them.

    Raises:
        UsageFailure: an unknown recipe, no such run, or values that contradict each other.
    """
    description = f"Train a Vision Transformer. Recipes: {', '.join(RECIPES)}; digits if none is named."
    try:
        if typed.options and not typed.options[0].startswith("-"):
            word = typed.options[0]
            raise UsageFailure(
                f"{word} stands where only options can: a folder of pictures is --data.path {word}, "
                "and one recipe is trained at a time"
            )
        tell_familiar_options(typed.names)
        recipe, choices = _recipe_before_options(typed)
        if recipe.init is not None or typed.value("init") is not None:
            _refuse_what_weights_decide(typed)
        options = tyro.cli(
            TrainOptions,
            prog="vit train [RECIPE]",
            description=description,
            args=typed.options,
            default=TrainOptions(recipe),
        )
        if options.image_shape is not None:
            options = replace(options, recipe=with_image_shape(options.recipe, options.image_shape))
        refuse_idle_options(typed.names, options.recipe)
        return options, choices
    except ValueError as error:
        raise UsageFailure(str(error)) from error


def _recipe_before_options(typed: CommandLine) -> tuple[Recipe, tuple[Choice, ...]]:
    """The recipe that options change: the one named first, that of the run to resume, or digits.

    And what the number of pictures decided of it.
    """
    resumed = typed.value("resume")
    if resumed is not None and resumed != "auto":
        if typed.recipe is not None:
            raise UsageFailure("give a recipe or --resume RUN, not both: a run knows its recipe")
        if typed.value("preset") is not None:
            raise UsageFailure("--preset is for a new run: leave it out, a run knows its model")
        return RunFolder(expanded(resumed)).record().recipe, ()
    if typed.recipe == "finetune" and None not in (typed.value("data.path"), typed.value("init")):
        return _finetune_on(typed)
    recipe, name = find_recipe(typed.recipe or "digits"), typed.value("preset")
    if name is None:
        return recipe, ()
    tell_familiar_preset(name)
    return with_preset(recipe, name), ()


def _refuse_what_weights_decide(typed: CommandLine) -> None:
    """Meets options that the weights to begin with leave without effect.

    Raises:
        UsageFailure: names the first.
    """
    for name in typed.names:
        if (
            name.startswith(("model.", "preprocessing.", "preset", "image-shape"))
            and name not in WITHOUT_WEIGHTS
        ):
            raise UsageFailure(
                f"--{name} does nothing where --init brings the model and its preprocessing: leave it out. "
                "What can be changed of them is --init-image-shape, --init-patch-shape, --init-channels, "
                f"and {' and '.join(f'--{option}' for option in WITHOUT_WEIGHTS)}"
            )


def _finetune_on(typed: CommandLine) -> tuple[Recipe, tuple[Choice, ...]]:
    """The recipe that fits the pictures which lie there, and to what a person said of it."""
    from vision_transformers.data.folder import count_training_images

    given = DataSource(name="folder", path=typed.value("data.path"))
    source = replace(
        given,
        validation_fraction=typed.number("data.validation-fraction", given.validation_fraction),
        test_fraction=typed.number("data.test-fraction", given.test_fraction),
    )
    images, classes = count_training_images(source)
    return finetune_on(max(images, 1), classes, _learns(typed), typed.number("batch-size", 0) or None)


def _learns(typed: CommandLine) -> Learns | None:
    """What learns, as far as a person has said so."""
    if typed.number("low-rank.rank", 0) > 0:
        return "matrices"
    if typed.value("frozen") is not None or typed.value("frozen-layers") is not None:
        return "head" if typed.value("frozen") == "body" else "all"
    return "all" if typed.number("probe.fraction", 0.0) > 0 else None


def _chosen(choices: tuple[Choice, ...], typed: CommandLine) -> tuple[str, ...]:
    """A line for each thing that the number of pictures decided, and a person did not."""
    lines = []
    for choice in choices:
        said_by = (choice.option, "steps") if choice.option == "epochs" else (choice.option,)
        if all(typed.value(option) is None for option in said_by):
            lines.append(f"chosen         --{choice.option} {choice.value}: {choice.reason}")
    return tuple(lines)


def _folder_to_resume(options: TrainOptions, typed: CommandLine) -> RunFolder | None:
    if typed.recipe == "finetune" and options.recipe.init is None:
        raise UsageFailure("say which weights to begin with: --init SOURCE, and --init-format if not native")
    if options.resume is None:
        if options.allow_different_machine:
            raise UsageFailure(
                "--allow-different-machine is for --resume: leave it out, a new run begins here"
            )
        return None
    if options.resume != "auto":
        if options.run_folder is not None:
            raise UsageFailure("give --run-folder or --resume RUN, not both: a run stays in its folder")
        return RunFolder(expanded(options.resume))
    if options.run_folder is None:
        return newest_run(options.recipe, options.allow_different_machine)
    folder = RunFolder(expanded(options.run_folder))
    return folder if folder.is_begun else None


def _watched(options: TrainOptions, folder: RunFolder | None, chosen: tuple[str, ...]) -> "Result":
    from vision_transformers.cli.terminal import watch

    with watch(chosen) as observer:
        return _train(options, folder, observer)


def _train(options: TrainOptions, folder: RunFolder | None, observer: Observer) -> "Result":
    from vision_transformers.training.train import resume, train

    if folder is None:
        return train(options.recipe, options.run_folder, observer)
    return resume(folder.path, options.recipe, options.allow_different_machine, observer)


def _print_result(result: "Result") -> None:
    metrics = result.metrics
    if "best_validation_accuracy" in metrics:
        best = metrics["best_validation_accuracy"]
        print(f"validation accuracy {best:.2%}, the best of all: those weights are kept")
    elif "validation_accuracy" in metrics:
        _print_measured(metrics, "validation")
    if "test_accuracy" in metrics:
        _print_measured(metrics, "test")
    print(f"run folder     {result.folder}")
    print(f"model folder   {result.folder / 'model'}")
    print(f"curves         {result.folder / 'plots' / 'curves.png'}")
    print(f"next           {_typed('vit')} evaluate {shlex.quote(str(result.folder))} {_data(result.folder)}")
    print(f"               {_typed('tensorboard')} --logdir {shlex.quote(str(result.folder.parent))}")
    print(f"               {_typed('vit')} train --help")


def _print_measured(metrics: dict[str, int | float], part: str) -> None:
    print(f"{part} accuracy {metrics[f'{part}_accuracy']:.2%}, loss {metrics[f'{part}_loss']:.4f}")


def _data(folder: Path) -> str:
    """What a run was trained on, as `vit evaluate` asks for it."""
    data = RunFolder(folder).record().recipe.data
    return data.name if data.path is None else shlex.quote(data.path)


def _typed(command: str) -> str:
    """How to call a command that was installed beside this one: by its name, where the shell finds it."""
    called = Path(sys.argv[0])
    beside = Path(sys.executable) if called.name == "__main__.py" else called
    return command if shutil.which(command) else str(beside.with_name(command))
