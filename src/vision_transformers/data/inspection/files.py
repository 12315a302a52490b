"""Files that cannot be read, and those that are left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from vision_transformers.data.decoding import check_file
from vision_transformers.data.inspection.finding import Finding, Item, counted, items_of, pictures
from vision_transformers.data.inspection.inspected import Inspection, Listing
from vision_transformers.data.inspection.looking import Unreadable
from vision_transformers.errors import DataFailure

ENDINGS = 5
"""How many kinds of files that are no pictures are named."""


def about_unreadable_files(inspection: Inspection) -> Iterator[Finding]:
    """Each of them stops a training."""
    if cut_short := [one for one in inspection.unreadable if one.is_cut_short]:
        yield Finding(
            "cut-short",
            True,
            f"broken off before their end: {pictures(len(cut_short))}",
            "`vit train` stops there: copy or download them again, or remove them",
            _with_reasons(cut_short),
        )
    if others := [one for one in inspection.unreadable if not one.is_cut_short]:
        yield Finding(
            "unreadable",
            True,
            f"cannot be read: {pictures(len(others))}",
            "`vit train` stops there: each line says what to do",
            _with_reasons(others),
        )
    if unlisted := [one for one in inspection.listing.class_folders if one.failure is not None]:
        yield Finding(
            "unlisted-folder",
            True,
            f"cannot be listed to their end: {counted(len(unlisted), 'class folder', 'class folders')}",
            "`vit train` stops there: each line says what to do. What comes after it was not looked at",
            tuple(Item((one.folder,), str(one.failure)) for one in unlisted),
        )


def about_files_left_out(listing: Listing) -> Iterator[Finding]:
    """None of them stops a training."""
    others = [path for one in listing.class_folders for path in one.others]
    unnamed = {path for path in others if _is_readable(path)}
    if unnamed:
        yield Finding(
            "unnamed-pictures",
            False,
            f"left out because of their names: {pictures(len(unnamed))}",
            "Give them the ending that they should have, such as .jpg or .png",
            items_of(path for path in others if path in unnamed),
        )
    yield from _no_pictures([path for path in others if path not in unnamed])
    if listing.beside:
        yield Finding(
            "beside",
            False,
            f"left out, since they belong to no class: {_files_or_folders(len(listing.beside))}",
            "Pictures are looked for in the folders of classes alone",
            items_of(listing.beside),
        )
    hidden = [*listing.hidden, *(path for one in listing.class_folders for path in one.hidden)]
    if hidden:
        yield Finding(
            "hidden",
            False,
            f"left out, since they are hidden: {_files_or_folders(len(hidden))}",
            "Nothing to do",
            items_of(hidden),
        )


def _no_pictures(paths: Sequence[Path]) -> Iterator[Finding]:
    if not paths:
        return
    endings = Counter(path.suffix.lower() or "no ending" for path in paths)
    named = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common(ENDINGS))
    yield Finding(
        "no-pictures",
        False,
        f"left out, since they are no pictures: {counted(len(paths), 'file', 'files')} ({named})",
        "If they are pictures of another format, such as HEIC, save them as JPEG or PNG",
        items_of(paths),
    )


def _is_readable(path: Path) -> bool:
    try:
        check_file(path)
    except DataFailure:
        return False
    return True


def _with_reasons(files: Sequence[Unreadable]) -> tuple[Item, ...]:
    return tuple(Item((one.path,), one.reason) for one in files)


def _files_or_folders(count: int) -> str:
    return counted(count, "file or folder", "files or folders")
