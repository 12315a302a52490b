"""A folder of pictures as it lies there: parts, classes, every file, and what each picture is like."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_transformers.data.folder import class_folders_of, fractions_held_out, parts_of
from vision_transformers.data.inspection.looking import Picture, Unreadable
from vision_transformers.data.source import DataSource
from vision_transformers.data.walking import is_hidden, is_picture, walk_entries

PARTS = ("all", "train", "validation", "test")
"""In the order in which they are told of."""


@dataclass(frozen=True)
class ClassFolder:
    """The files of a class in one part."""

    part: str
    """One of `PARTS`: `all` where classes lie side by side."""
    name: str
    folder: Path
    pictures: tuple[Path, ...]
    """Files that are read, by their names."""
    others: tuple[Path, ...]
    """Files that are left out, by their names."""
    hidden: tuple[Path, ...]
    """Files and folders that are left out, since no person means them."""
    failure: str | None
    """Why not all of it could be listed."""

    @property
    def is_learned_from(self) -> bool:
        """Whether a model learns from them, but for what is held out."""
        return self.part in ("train", "all")


@dataclass(frozen=True)
class Listing:
    """What lies in a folder, as `vit train` would take it."""

    folder: Path
    parts: dict[str, Path]
    class_folders: tuple[ClassFolder, ...]
    """By part, then by name."""
    beside: tuple[Path, ...]
    """Files and folders that belong to no class."""
    hidden: tuple[Path, ...]
    """Hidden ones among them."""

    @property
    def pictures(self) -> list[Path]:
        """The files that are read, of all classes."""
        return [path for one in self.class_folders for path in one.pictures]

    @property
    def classes(self) -> list[str]:
        """Of all parts together, sorted."""
        return sorted({one.name for one in self.class_folders})

    @property
    def learned_from(self) -> list[ClassFolder]:
        """The class folders of the part that a model learns from."""
        return [one for one in self.class_folders if one.is_learned_from]

    @property
    def held_out(self) -> dict[str, float]:
        """The parts that `vit train` makes of images to learn from, since there are no folders for them, and
        of how many if nothing else is said."""
        return fractions_held_out(self.parts, DataSource(name="folder"))


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture, and where it was found."""

    picture: Picture
    class_folder: ClassFolder


@dataclass(frozen=True)
class Inspection:
    """A folder, and what each of its pictures is like."""

    listing: Listing
    seen: tuple[Seen, ...]
    """In the order of the listing."""
    unreadable: tuple[Unreadable, ...]

    @classmethod
    def of(cls, listing: Listing, looked: Iterable[Picture | Unreadable]) -> "Inspection":
        """Sorts out what was made of `listing.pictures`, in their order."""
        of_each = (one for one in listing.class_folders for _ in one.pictures)
        seen: list[Seen] = []
        unreadable: list[Unreadable] = []
        for class_folder, one in zip(of_each, looked, strict=True):
            if isinstance(one, Unreadable):
                unreadable.append(one)
            else:
                seen.append(Seen(one, class_folder))
        return cls(listing, tuple(seen), tuple(unreadable))

    @property
    def distinct(self) -> list[list[Seen]]:
        """Pictures that are equal to the last pixel, together; most are alone."""
        groups: dict[bytes, list[Seen]] = {}
        for one in self.seen:
            groups.setdefault(one.picture.digest, []).append(one)
        return list(groups.values())

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Widths and heights, from the fewest pixels to the most."""
        sizes = [(one.picture.width, one.picture.height) for one in self.seen]
        return sorted(sizes, key=lambda size: (size[0] * size[1], size))


def list_folder(folder: Path) -> Listing:
    """Finds the files of a folder, and opens none.

    Raises:
        DataFailure: it is missing, or not arranged as `vit train folder` expects.
    """
    found = parts_of(folder)
    if found == {"train": folder}:
        found = {"all": folder}
    parts = {part: found[part] for part in PARTS if part in found}
    classes = {part: class_folders_of(path) for part, path in parts.items()}
    taken = {folder, *parts.values(), *(path for paths in classes.values() for path in paths)}
    beside = [path for place in dict.fromkeys((folder, *parts.values())) for path in _entries(place)]
    return Listing(
        folder,
        parts,
        tuple(_list_class(part, path) for part, paths in classes.items() for path in paths),
        tuple(path for path in beside if not is_hidden(path.name) and path not in taken),
        tuple(path for path in beside if is_hidden(path.name)),
    )


def _entries(folder: Path) -> Iterator[Path]:
    return (folder / name for name in sorted(os.listdir(folder)))


def _list_class(part: str, folder: Path) -> ClassFolder:
    entries: list[Path] = []
    failure = None
    try:
        for path in walk_entries(folder):
            entries.append(path)
    except OSError as error:  # what was found before it is kept
        failure = f"{error.filename} cannot be listed ({error.strerror}): check its permissions"
    files = [path for path in entries if not is_hidden(path.name)]
    return ClassFolder(
        part,
        folder.name,
        folder,
        pictures=tuple(path for path in files if is_picture(path)),
        others=tuple(path for path in files if not is_picture(path)),
        hidden=tuple(path for path in entries if is_hidden(path.name)),
        failure=failure,
    )
