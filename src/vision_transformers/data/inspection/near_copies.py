"""Pictures that are nearly the same, where that spoils what a model is judged by."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from vision_transformers.data.inspection.finding import Finding, Item, pictures
from vision_transformers.data.inspection.inspected import Inspection, Seen
from vision_transformers.data.inspection.likeness import Likeness, find_likenesses

MOST_PAIRS = 100_000
"""That are looked at: there are more where many pictures are like many others, as frames of one film are."""


def about_near_copies(inspection: Inspection) -> Iterator[Finding]:
    """Notes, not problems: a person has to look whether they are the same picture."""
    seen = inspection.seen
    found = islice(find_likenesses([one.picture.thumbnail for one in seen]), MOST_PAIRS)
    pairs = [pair for pair in found if not _are_copies(seen[pair.first], seen[pair.second])]
    if across := _groups(pairs, seen, lambda one, other: one.class_folder.part != other.class_folder.part):
        yield _finding(
            "near-copies-between-parts",
            "in several parts",
            "What a model has learned by heart flatters it: keep each in one part alone",
            across,
        )
    if across := _groups(pairs, seen, lambda one, other: one.class_folder.name != other.class_folder.name):
        yield _finding(
            "near-copies-between-classes",
            "in several classes",
            "If they show the same, one of the labels is wrong",
            across,
        )
    held_out = " and ".join(inspection.listing.held_out)
    if held_out and (within := _groups(pairs, seen, _may_be_parted)):
        yield _finding(
            "near-copies-within-class",
            "in one class",
            f"`vit train` draws images for {held_out} by lot, and such fall on both sides: keep one of each",
            within,
        )


def _are_copies(one: Seen, other: Seen) -> bool:
    """To the last pixel, which is told elsewhere."""
    return one.picture.digest == other.picture.digest


def _may_be_parted(one: Seen, other: Seen) -> bool:
    return one.class_folder.folder == other.class_folder.folder and one.class_folder.is_learned_from


def _finding(kind: str, where: str, remedy: str, items: tuple[Item, ...]) -> Finding:
    count = sum(len(item.paths) for item in items)
    return Finding(kind, False, f"nearly the same {where}: {pictures(count)}", remedy, items)


def _groups(
    pairs: Sequence[Likeness], seen: Sequence[Seen], is_meant: Callable[[Seen, Seen], bool]
) -> tuple[Item, ...]:
    """Of the pairs that are meant, those that hang together, in the order of the listing."""
    meant = [pair for pair in pairs if is_meant(seen[pair.first], seen[pair.second])]
    group_of: dict[int, set[int]] = {}
    for pair in meant:
        one, other = (group_of.setdefault(place, {place}) for place in (pair.first, pair.second))
        if one is not other:
            one |= other
            group_of |= dict.fromkeys(other, one)
    mirrored = {pair.first for pair in meant if pair.is_mirrored}
    groups = {min(group): group for group in group_of.values()}
    return tuple(
        Item(
            tuple(seen[place].picture.path for place in sorted(groups[first])),
            "one of them mirrored" if mirrored & groups[first] else "",
        )
        for first in sorted(groups)
    )
