"""Pictures that are nearly the same, where that spoils what a model is judged by."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from vision_transformers.data.inspection.finding import Finding, Item, pictures
from vision_transformers.data.inspection.inspected import Inspection, Seen
from vision_transformers.data.inspection.likeness import Likeness, find_likenesses

MOST_PAIRS = 100_000
"""That are looked at: there are more where many pictures are like many others, as frames of one film are."""


Copies = Sequence[Seen]
"""One picture or more, equal to the last pixel."""
Meant = Callable[[Copies, Copies], bool]


def about_near_copies(inspection: Inspection) -> Iterator[Finding]:
    """Notes, not problems: a person has to look whether they are the same picture."""
    distinct = inspection.distinct
    thumbnails = [copies[0].picture.thumbnail for copies in distinct]
    pairs = list(islice(find_likenesses(thumbnails, _kinds(distinct, inspection)), MOST_PAIRS))
    if across := _groups(pairs, distinct, _lie_in_several_parts):
        yield _finding(
            "near-copies-between-parts",
            "in several parts",
            "What a model has learned by heart flatters it: keep each in one part alone",
            across,
        )
    if across := _groups(pairs, distinct, _lie_in_several_classes):
        yield _finding(
            "near-copies-between-classes",
            "in several classes",
            "If they show the same, one of the labels is wrong",
            across,
        )
    held_out = " and ".join(inspection.listing.held_out)
    if held_out and (within := _groups(pairs, distinct, _may_be_parted)):
        yield _finding(
            "near-copies-within-class",
            "in one class",
            f"`vit train` draws images for {held_out} by lot, and such fall on both sides: keep one of each",
            within,
        )
    if len(pairs) == MOST_PAIRS:
        yield Finding(
            "near-copies-not-all",
            False,
            f"nearly the same: {MOST_PAIRS:,} pairs or more, of which no more were looked at",
            "Frames of one film are so: of each scene, keep few, or all in one part",
        )


def _kinds(distinct: Sequence[Copies], inspection: Inspection) -> list[int]:
    """The same for pictures of one class folder where it does not matter that they are alike."""
    does_not_matter = [
        one.folder
        for one in inspection.listing.class_folders
        if not (one.is_learned_from and inspection.listing.held_out)
    ]
    numbers = {folder: -number for number, folder in enumerate(does_not_matter, 1)}
    return [
        numbers.get(copies[0].class_folder.folder, place) if len(_folders(copies)) == 1 else place
        for place, copies in enumerate(distinct)
    ]


def _folders(copies: Copies) -> set[Path]:
    return {one.class_folder.folder for one in copies}


def _lie_in_several_parts(some: Copies, others: Copies) -> bool:
    return len({one.class_folder.part for one in chain(some, others)}) > 1


def _lie_in_several_classes(some: Copies, others: Copies) -> bool:
    return len({one.class_folder.name for one in chain(some, others)}) > 1


def _may_be_parted(some: Copies, others: Copies) -> bool:
    shared = _folders(some) & _folders(others)
    return any(one.class_folder.folder in shared and one.class_folder.is_learned_from for one in some)


def _finding(kind: str, where: str, remedy: str, items: tuple[Item, ...]) -> Finding:
    count = sum(len(item.paths) for item in items)
    return Finding(kind, False, f"nearly the same {where}: {pictures(count)}", remedy, items)


def _groups(pairs: Sequence[Likeness], distinct: Sequence[Copies], is_meant: Meant) -> tuple[Item, ...]:
    """Of the pairs that are meant, those that hang together, in the order of the listing."""
    meant = [pair for pair in pairs if is_meant(distinct[pair.first], distinct[pair.second])]
    group_of: dict[int, set[int]] = {}
    for pair in meant:
        two = [group_of.setdefault(place, {place}) for place in (pair.first, pair.second)]
        if two[0] is not two[1]:
            smaller, larger = sorted(two, key=len)
            larger |= smaller
            group_of |= dict.fromkeys(smaller, larger)
    mirrored = {pair.first for pair in meant if pair.is_mirrored}
    groups = {min(group): group for group in group_of.values()}
    return tuple(
        Item(
            tuple(one.picture.path for place in sorted(groups[first]) for one in distinct[place]),
            "one of them mirrored" if mirrored & groups[first] else "",
            are_equal=False,
        )
        for first in sorted(groups)
    )
