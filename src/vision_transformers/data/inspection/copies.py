"""Pictures that lie in several places, equal to the last pixel."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from vision_transformers.data.inspection.finding import Finding, Item, pictures
from vision_transformers.data.inspection.inspected import Inspection, Listing, Seen


def about_copies(inspection: Inspection) -> Iterator[Finding]:
    """Those between parts first: a test on what was learned from says nothing."""
    groups = [group for group in inspection.distinct if len(group) > 1]
    if across := [group for group in groups if len(_parts(group)) > 1]:
        yield _between_parts(across)
    if across := [group for group in groups if len({one.class_folder.name for one in group}) > 1]:
        yield Finding(
            "copies-between-classes",
            True,
            f"copied into several classes: {pictures(len(across))}",
            "At least one label of each is wrong: keep it where it belongs, and nowhere else",
            _copied(across),
        )
    if within := [members for group in groups for members in _within_class(group)]:
        yield _within_classes(within, inspection.listing)


def _between_parts(groups: Sequence[Sequence[Seen]]) -> Finding:
    by_parts = Counter(" and ".join(_parts(group)) for group in groups)
    places = ", ".join(f"{count:,} in {parts}" for parts, count in by_parts.items())
    return Finding(
        "copies-between-parts",
        True,
        f"copied into several parts: {pictures(len(groups))} ({places})",
        "What a model has learned by heart flatters it: keep each in one part alone",
        _copied(groups),
    )


def _within_classes(groups: Sequence[Sequence[Seen]], listing: Listing) -> Finding:
    """A problem where `vit train` holds images out of the same folders."""
    is_split = bool(listing.held_out) and any(group[0].class_folder.is_learned_from for group in groups)
    remedy = "They count as often as they lie there: keep one of each"
    if is_split:
        parts = " and ".join(listing.held_out)
        remedy = (
            f"`vit train` draws images for {parts} by lot, and copies fall on both sides: keep one of each"
        )
    return Finding(
        "copies-within-class",
        is_split,
        f"copied within their class: {pictures(len(groups))}",
        remedy,
        _copied(groups),
    )


def _within_class(group: Sequence[Seen]) -> Iterator[list[Seen]]:
    by_folder = defaultdict(list)
    for one in group:
        by_folder[one.class_folder.folder].append(one)
    return (members for members in by_folder.values() if len(members) > 1)


def _parts(group: Sequence[Seen]) -> list[str]:
    return list(dict.fromkeys(one.class_folder.part for one in group))


def _copied(groups: Sequence[Sequence[Seen]]) -> tuple[Item, ...]:
    return tuple(_item([one.picture.path for one in group]) for group in groups)


def _item(paths: Sequence[Path]) -> Item:
    files = {os.path.realpath(path) for path in paths}
    return Item(tuple(paths), "a link leads to the same file" if len(files) < len(paths) else "")
