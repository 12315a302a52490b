"""A person's own images: a folder for each class, whole or in parts `train`, `val` and `test`."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from vision_transformers.config import first_of
from vision_transformers.data.checking import check_files
from vision_transformers.data.images import DataSets, ImageFiles
from vision_transformers.data.source import DataSource
from vision_transformers.data.splitting import hold_out, number_held_out
from vision_transformers.data.walking import EXTENSIONS, is_hidden, is_picture, walk_files
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.files import expanded

_PARTS = frozenset({"train", "val", "validation", "test"})
_USUAL_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
"""What others call a part, in lower case, and what it is called here."""


@dataclass(frozen=True)
class _Part:
    """The class folders of one part, with their images."""

    folder: Path
    images: Mapping[str, tuple[Path, ...]]
    """For each class, its files."""
    others: int
    """How many files are no images."""


def read_folder(source: DataSource) -> DataSets:
    """Reads `PATH/train/<class>/*` with `val` (or `validation`) and `test` beside it, or `PATH/<class>/*`.

    The classes are the sorted names of the class folders; images lie anywhere below them. Where there is
    neither `val` nor `test`, `source.test_fraction` of the images are held out to test.

    Raises:
        UsageFailure: the source has no path.
        DataFailure: the folder is missing, arranged in another way, or has files that are no images.
    """
    if source.path is None:
        raise UsageFailure("data.path is missing: say where the pictures lie with --data.path PATH")
    folder = expanded(source.path)
    parts = {name: _read_part(path) for name, path in parts_of(folder).items()}
    classes = _classes(parts.values())
    images = _checked_images(folder, parts, classes)
    train, test = images["train"], images.get("test")
    if fraction := fractions_held_out(parts, source).get("test"):
        kept, held_out = hold_out(train.labels, classes, fraction, source.split_seed)
        train, test = train.select(kept), train.select(held_out)
    return DataSets(
        train=train,
        validation=images.get("validation"),
        test=test,
        classes=classes,
        description=_description(folder, parts.values()),
        listing=_digest(images.values(), lambda path: os.fsencode(path.relative_to(folder).as_posix())),
        fingerprint=_digest(images.values(), lambda path: _name_and_size(path, folder)),
    )


def count_training_images(source: DataSource) -> tuple[int, int]:
    """How many images a folder leaves to learn from, by the names of its files, and how many classes.

    Raises:
        DataFailure: as `read_folder`, but for files that are no images.
    """
    parts = {name: _read_part(path) for name, path in parts_of(expanded(source.path or "")).items()}
    classes = _classes(parts.values())
    counts = [len(files) for files in parts["train"].images.values()]
    for fraction in fractions_held_out(parts, source).values():
        counts = [count - number_held_out(count, fraction) for count in counts]
    return sum(counts), len(classes)


def fractions_held_out(parts: Collection[str], source: DataSource) -> dict[str, float]:
    """The parts that are made of images to learn from, where a folder has only these, and which fraction of
    each class goes there; in the order in which they are taken, the second from what the first leaves."""
    wanted = {
        "test": source.test_fraction if len(parts) == 1 else 0.0,
        "validation": source.validation_fraction if "validation" not in parts else 0.0,
    }
    return {part: fraction for part, fraction in wanted.items() if fraction > 0}


def read_labelled_folder(folder: Path) -> tuple[dict[str, ImageFiles], tuple[str, ...], str]:
    """Reads pictures to judge a model by: any of the parts `train`, `val` and `test`, or classes alone.

    Unlike what is learned from, parts may lack classes, and there may be one class alone.

    Returns:
        The images of each part, of one called `all` where there are only classes; all classes, sorted; and
        one line for the person.

    Raises:
        DataFailure: the folder is missing, arranged in another way, or has files that are no images.
    """
    parts = {name: _read_part(path) for name, path in _parts_to_judge(folder).items()}
    classes = tuple(sorted({name for part in parts.values() for name in part.images}))
    images = _checked_images(folder, parts, classes)
    return images, classes, _description(folder, parts.values())


def _parts_to_judge(folder: Path) -> dict[str, Path]:
    names = {path.name for path in folders_in(folder)}
    if not names or not names <= _PARTS:
        parts = parts_of(folder)
        return {"all": folder} if parts == {"train": folder} else parts
    return _by_part(folder, names)


def parts_of(folder: Path) -> dict[str, Path]:
    """The folder of each part that there is; `train` alone where the classes lie side by side.

    Raises:
        DataFailure: it is missing, or its parts go by other names than those known here.
    """
    names = {path.name for path in folders_in(folder)}
    _check_names_of_parts(folder, names)
    beside = names & _PARTS - {"train"}
    if names and names == beside:
        raise DataFailure(
            f"{folder} has {', '.join(sorted(names))} but no folder train: put what to learn from there"
        )
    # A class may be called `train`, as vehicles are: it is a part where it is alone or has its siblings.
    if "train" not in names or not (beside or len(names) == 1):
        return {"train": folder}
    return _by_part(folder, beside | {"train"})


def _by_part(folder: Path, names: Set[str]) -> dict[str, Path]:
    if {"val", "validation"} <= names:
        raise DataFailure(f"{folder} has both a folder val and a folder validation: keep one of them")
    return {"validation" if name == "val" else name: folder / name for name in sorted(names)}


def _check_names_of_parts(folder: Path, names: Set[str]) -> None:
    """Meets parts that go by other names: they would be classes, or be left out.

    Raises:
        DataFailure: names the folders, and says what to call them.
    """
    meant = {name: part for name in sorted(names) if (part := _part_meant(name)) is not None}
    others = [f"{name} to {part}" for name, part in meant.items() if name not in _PARTS]
    # One name alone may be that of a class, as `train` is; beside `train`, or without any other, it is not.
    if others and (len(meant) == len(names) or ("train" in meant.values() and len(meant) > 1)):
        raise DataFailure(
            f"{folder} has {', '.join(meant)}, but its parts are known as train, val and test only: "
            f"rename {', '.join(others)}, or move what is no part elsewhere"
        )


def _part_meant(name: str) -> str | None:
    """The part that a folder of this name usually is; None for any other."""
    return _USUAL_NAMES.get(name.lower().removesuffix("set").rstrip("_- "))


def _description(folder: Path, parts: Collection[_Part]) -> str:
    """Where the images lie, for any working folder, and what of it is none of them."""
    read = {part.folder for part in parts}
    beside = [] if read == {folder} else [path.name for path in folders_in(folder) if path not in read]
    others = sum(part.others for part in parts)
    left_out = [f"files that are no images left out: {others:,}"] if others else []
    left_out += [f"folders that are no part left out: {first_of(beside)}"] if beside else []
    return f"{folder.resolve()}" + (f" ({'; '.join(left_out)})" if left_out else "")


def _read_part(folder: Path) -> _Part:
    images: dict[str, tuple[Path, ...]] = {}
    others = 0
    for class_folder in class_folders_of(folder):
        files = _files(class_folder)
        found = tuple(file for file in files if is_picture(file))
        if not found:
            raise DataFailure(
                f"the class folder {class_folder} has no images ({', '.join(sorted(EXTENSIONS))}): "
                "add some, or remove the folder"
            )
        images[class_folder.name] = found
        others += len(files) - len(found)
    return _Part(folder, images, others)


def class_folders_of(part: Path) -> list[Path]:
    """The folders of a part's classes, sorted.

    Raises:
        DataFailure: there are none, or the part cannot be listed.
    """
    class_folders = folders_in(part)
    if not class_folders:
        raise DataFailure(
            f"{part} has no folders in it: give each class one with its images, {part}/<class>/*"
        )
    return class_folders


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted.

    Raises:
        DataFailure: it is missing, or cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError as error:
        _cannot_list(error)


def _files(folder: Path) -> list[Path]:
    try:
        return list(walk_files(folder))
    except OSError as error:
        _cannot_list(error)


def _cannot_list(error: OSError) -> NoReturn:
    match error:
        case FileNotFoundError():
            message = f"{error.filename} does not exist: check --data.path"
        case NotADirectoryError():
            message = (
                f"{error.filename} is a file: --data.path names a folder that has a folder for each class"
            )
        case _:
            message = f"{error.filename} cannot be read ({error.strerror}): check its permissions"
    raise DataFailure(message) from error


def _classes(parts: Iterable[_Part]) -> tuple[str, ...]:
    """The classes, which all parts must share."""
    first, *rest = parts
    for other in rest:
        if first.images.keys() != other.images.keys():
            raise DataFailure(
                f"the classes differ: {first.folder} has {', '.join(sorted(first.images))}, "
                f"and {other.folder} has {', '.join(sorted(other.images))}"
                f"{_capitals(first.images.keys(), other.images.keys())}: make them the same"
            )
    classes = tuple(sorted(first.images))
    if len(classes) == 1:
        raise DataFailure(f"{first.folder} has one class, {classes[0]!r}: a classifier needs two or more")
    return classes


def _capitals(names: Set[str], others: Set[str]) -> str:
    """Which of the names that others lack these spell with other capitals, for a message."""
    pairs = [f"{name} and {other}" for name, other in spelt_otherwise(names - others, others - names).items()]
    return f" ({first_of(pairs)} differ by capitals only)" if pairs else ""


def spelt_otherwise(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """For each of the names that differs from one of the others by capitals only, that one."""
    by_letters = {other.casefold(): other for other in sorted(others, reverse=True)}
    found = {name: by_letters.get(name.casefold(), name) for name in sorted(names)}
    return {name: other for name, other in found.items() if name != other}


def _checked_images(
    folder: Path, parts: Mapping[str, _Part], classes: tuple[str, ...]
) -> dict[str, ImageFiles]:
    """Those of each part, once every file has been opened."""
    check_files([file for part in parts.values() for files in part.images.values() for file in files], folder)
    return {name: _image_files(part, classes) for name, part in parts.items()}


def _image_files(part: _Part, classes: tuple[str, ...]) -> ImageFiles:
    labelled = [(file, label) for label, name in enumerate(classes) for file in part.images.get(name, ())]
    return ImageFiles(tuple(file for file, _ in labelled), torch.tensor([label for _, label in labelled]))


def _digest(parts: Iterable[ImageFiles], described: Callable[[Path], bytes]) -> str:
    """The sha256 of each image's class and of what `described` says of its file."""
    digest = hashlib.sha256()
    for part in parts:
        for path, label in zip(part.paths, part.labels.tolist(), strict=True):
            digest.update(b"%b\0%d\0" % (described(path), label))
    return digest.hexdigest()


def _name_and_size(path: Path, folder: Path) -> bytes:
    return b"%b\0%d" % (os.fsencode(path.relative_to(folder).as_posix()), path.stat().st_size)
