"""The command `vit`: a table of verbs, each in a file of its own that is imported when it is called."""

import importlib
import io
import logging
import sys
import traceback
from importlib.metadata import version
from itertools import pairwise
from typing import NoReturn

from vision_transformers.cli.streams import silence
from vision_transformers.config import nearest
from vision_transformers.errors import Failure, UsageFailure, is_lack_of_memory
from vision_transformers.runtime.torchrun import Place, place_of_this_process

COMMANDS = {
    "train": "train a Vision Transformer, or go on with a run",
    "evaluate": "measure a model on a data set: numbers and a page",
    "predict": "say what pictures show",
    "explain": "see what a model looks at, and how far to believe it",
    "convert": "from anybody's checkpoints to anybody's",
    "export": "write ONNX that computes the same, checked",
    "serve": "answer over HTTP, with a page for people",
    "check": "look at every picture of a folder before a model learns from them",
    "models": "list the models that have a name",
    "report": "compare runs: a table and curves",
    "benchmark": "measure how fast a model is on this machine",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code. Of processes that train together, the first one speaks.

    0 done, 1 failure, 2 usage, 3 bad data, 130 and 143 interrupted (saved).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    place = place_of_this_process()
    if place.count > 1:
        _run_among_others(arguments, place)
    return _run(arguments, place)


def _run_among_others(arguments: list[str], place: Place) -> NoReturn:
    """Runs it, and ends this process in a way that no other waits for."""
    code: str | int | None = 1
    try:
        code = _run(arguments, place)
    except SystemExit as end:
        code = end.code or 0
    except Exception:
        traceback.print_exc()
    from vision_transformers.runtime.processes import leave

    leave(code if isinstance(code, int) else 1)


def _run(arguments: list[str], place: Place) -> int:
    logging.basicConfig(format="vit: %(message)s", level=logging.WARNING)
    logging.getLogger("vision_transformers").setLevel(logging.INFO if place.is_first else logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be valid Unicode
    try:
        return _dispatch(arguments, place)
    except Failure as failure:
        if place.is_first:
            _complain(f"{failure}")
        elif not failure.is_told:
            _complain(f"process {place.number}: {failure}")
        return failure.exit_code
    except (RuntimeError, MemoryError) as error:
        explanation = _explanation(error)
        if explanation is None:
            raise
        _complain(explanation)
        return 1
    except KeyboardInterrupt:
        saved = "; what a run had saved is unharmed" if arguments[:1] == ["train"] else ""
        _complain(f"interrupted{saved}")
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone, as with `vit ... | head`.
        silence(sys.stdout)
        return 1
    except OSError as error:
        _complain(f"{error}")
        return 1


def _explanation(error: RuntimeError | MemoryError) -> str | None:
    """What an error means for the person at the keyboard, where it can be told from one of this software."""
    if is_lack_of_memory(error):
        needed = str(error).partition("\n")[0]  # a worker's is followed by its traceback
        remedy = "Try a smaller --batch-size where the command has one, fewer workers, or another --device"
        return f"the memory is not enough{f': {needed}' if needed else ''}\n{remedy}"
    return None


def _complain(message: str) -> None:
    """Says what is wrong, unless nobody reads it: then the exit code alone says so."""
    try:
        print(f"vit: {message}", file=sys.stderr)
    except OSError:
        silence(sys.stderr)


def _dispatch(arguments: list[str], place: Place) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if name == "--version":
        print(f"vit {version('vision_transformers')}")
        return 0
    if name not in COMMANDS:
        raise UsageFailure(f"there is no command {name!r}: {nearest(name, COMMANDS)}")
    if place.count > 1 and name != "train":
        raise UsageFailure(f"vit {name} is the work of one process: call it without torchrun")
    _refuse_empty(arguments)
    command = importlib.import_module(f"vision_transformers.cli.{name}")
    return int(command.main(arguments[1:]))


def _refuse_empty(arguments: list[str]) -> None:
    """An empty path would mean the working folder, which nobody names so.

    Raises:
        UsageFailure: names the option.
    """
    for before, argument in pairwise(arguments):
        option, equals, value = argument.partition("=")
        if argument == "" or (option.startswith("--") and equals and not value):
            named = option or (before if before.startswith("--") else "an argument")
            raise UsageFailure(
                f"{named} is empty: give a value, or leave it out. A variable of the shell may not be set"
            )


def _help() -> str:
    lines = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    more = "`vit COMMAND --help` says more; `vit --version` says which this is."
    return f"usage: vit COMMAND ...\n\n{lines}\n\n{more}"
