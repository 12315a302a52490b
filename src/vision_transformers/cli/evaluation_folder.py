"""Where `vit evaluate` writes: with the run, in the working folder, or as asked, and over nobody's files."""

from pathlib import Path
from typing import Any

from vision_transformers.cli.subject import Subject
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import check_folder_can_be_written, read_json


def check_output(folder: Path) -> None:
    """Whether the folder is empty or holds an earlier evaluation, and can be written into.

    Raises:
        UsageFailure: says why it will not do.
    """
    check_folder_can_be_written(folder)
    if folder.is_dir() and any(folder.iterdir()):
        _places_of_earlier(folder)


def _places_of_earlier(folder: Path) -> dict[str, Any]:
    """Where the model and the images lie of the evaluation that a folder holds.

    Raises:
        UsageFailure: it holds none, or a damaged one; many programs write a `metrics.json`.
    """
    file = folder / "metrics.json"
    try:
        content, reason = read_json(file), f"{file} is not what vit evaluate writes"
    except Failure as failure:
        content, reason = None, f"{failure}"
    is_known = isinstance(content, dict) and "format_version" in content
    places = content.get("places") if is_known else None
    if not isinstance(places, dict):
        raise UsageFailure(
            f"{folder} holds other files and no whole evaluation ({reason}): "
            "choose another --output, or move them away"
        )
    return places


def usual_output(model: Path, subject: Subject) -> Path:
    """Where to write if nothing is said: with the run, or into the working folder.

    Raises:
        UsageFailure: something else lies there, such as an evaluation of others.
    """
    judged_by = f"{subject.labelled.name}-{subject.split}"
    of_run = None
    if subject.run is not None and subject.is_finished_run:
        of_run = subject.run.path / "evaluation" / judged_by
    folder = of_run or Path(f"evaluation-{model.resolve().name}-{judged_by}")
    check_output(folder)
    if (folder / "metrics.json").exists():
        places = _places_of_earlier(folder)
        if places != subject.places:
            others = " and ".join(map(str, places.values()))
            raise UsageFailure(
                f"{folder} is an evaluation of {others}, others of the same name: choose an --output"
            )
    return folder
