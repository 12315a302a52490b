"""Classes that a model cannot be taught or tested with, and those that are rarer than others."""

from collections.abc import Iterable, Iterator

from vision_transformers.data.folder import spelt_otherwise
from vision_transformers.data.inspection.finding import Finding, Item, counted, items_of, pictures
from vision_transformers.data.inspection.inspected import ClassFolder, Listing
from vision_transformers.data.splitting import number_held_out

IMBALANCED = 3
"""How many times the pictures of its smallest class the largest one has, from where it is worth a word."""


def about_classes(listing: Listing) -> Iterator[Finding]:
    """Of what stops a training first."""
    yield from _missing(listing)
    yield from _too_few(listing)
    yield from _imbalance(listing)
    yield from _nested(listing)


def _missing(listing: Listing) -> Iterator[Finding]:
    if empty := [one.folder for one in listing.class_folders if not one.pictures and one.failure is None]:
        yield Finding(
            "empty-class",
            True,
            f"without pictures: {_class_folders(len(empty))}",
            "`vit train` stops there: add some, or remove the class from all parts",
            items_of(empty),
        )
    if missing := [item for part in listing.parts for item in _missing_in(part, listing)]:
        yield Finding(
            "missing-class",
            True,
            f"missing, though another part has them: {_class_folders(len(missing))}",
            "`vit train` stops there, since all parts need the same classes: see how the folders are spelt",
            tuple(missing),
        )
    if len(listing.classes) == 1:
        remedy = "A classifier needs two or more: name the folder that holds the class folders"
        yield Finding("one-class", True, f"there is one class, {listing.classes[0]!r}", remedy)


def _missing_in(part: str, listing: Listing) -> list[Item]:
    """The class folders that a part lacks; those that it has with other capitals are told apart."""
    there = {one.name for one in listing.class_folders if one.part == part}
    missing = [name for name in listing.classes if name not in there]
    otherwise = spelt_otherwise(missing, there)
    reasons = {name: f"{other} is there, which differs by capitals only" for name, other in otherwise.items()}
    return [Item((listing.parts[part] / name,), reasons.get(name, "")) for name in missing]


def _too_few(listing: Listing) -> Iterator[Finding]:
    """Classes of which `vit train` would hold images out, and cannot."""
    fractions = listing.held_out.values()
    few = [one for one in listing.learned_from if one.pictures and not _can_hold_out(one, fractions)]
    if few:
        yield Finding(
            "too-few",
            True,
            f"too small to hold images for {' and '.join(listing.held_out)} out of them: "
            f"{_class_folders(len(few))}",
            "`vit train` stops there: add pictures, give it parts val and test, or set "
            "--data.validation-fraction 0 and --data.test-fraction 0",
            tuple(Item((one.folder,), pictures(len(one.pictures))) for one in few),
        )


def _can_hold_out(one: ClassFolder, fractions: Iterable[float]) -> bool:
    count = len(one.pictures)
    for fraction in fractions:
        if count < 2:
            return False
        count -= number_held_out(count, fraction)
    return True


def _imbalance(listing: Listing) -> Iterator[Finding]:
    counts = {one.folder: len(one.pictures) for one in listing.learned_from if one.pictures}
    by_count = sorted(counts, key=counts.__getitem__)
    if not counts or counts[by_count[-1]] < IMBALANCED * counts[by_count[0]]:
        return
    ends = (by_count[-1], by_count[0])
    ratio = counts[ends[0]] / counts[ends[1]]
    yield Finding(
        "imbalance",
        False,
        f"the largest class has {ratio:,.1f} times as many pictures as the smallest",
        "`vit train --class-weights balanced` weighs each class by how rare it is. Beside accuracy, look at "
        "the recall of each class, which `vit evaluate` tells",
        tuple(Item((folder,), pictures(counts[folder])) for folder in ends),
    )


def _nested(listing: Listing) -> Iterator[Finding]:
    nested = [path for one in listing.class_folders for path in one.pictures if path.parent != one.folder]
    if nested:
        yield Finding(
            "nested",
            False,
            f"in folders inside a class folder: {pictures(len(nested))}",
            "They are of that class. If the folders inside are classes of their own, move them beside it",
            items_of(nested),
        )


def _class_folders(count: int) -> str:
    return counted(count, "class folder", "class folders")
