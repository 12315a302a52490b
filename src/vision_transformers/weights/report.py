"""What a conversion did with every tensor: for people, and as JSON."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vision_transformers.errors import Failure
from vision_transformers.weights.transformations import Transformation

KINDS = (
    "matched",
    "renamed",
    "transformed",
    "resized",
    "newly_made",
    "kept_aside",
    "without_place",
    "left_out",
)
NAMED = 5
"""How many tensors an error names."""

_logger = logging.getLogger(__name__)

Named = tuple[str, tuple[int, ...]]
"""A tensor's name and shape."""


@dataclass(frozen=True)
class Row:
    """Some tensors by name and shape."""

    tensors: tuple[Named, ...]

    @classmethod
    def of(cls, names: Sequence[str], tensors: Sequence[Tensor]) -> "Row":
        """The row of these tensors."""
        return cls(tuple((name, tuple(tensor.shape)) for name, tensor in zip(names, tensors, strict=True)))

    def __str__(self) -> str:
        return ", ".join(f"{name} {list(shape)}" for name, shape in self.tensors)


@dataclass(frozen=True)
class Change:
    """What some tensors became."""

    before: Row
    after: Row
    how: str


@dataclass
class Report:
    """Every tensor of a conversion, by what was done with it."""

    matched: list[Change] = field(default_factory=list)
    """Same name, same values."""
    renamed: list[Change] = field(default_factory=list)
    """Another name, same values."""
    transformed: list[Change] = field(default_factory=list)
    """Joined, cut, transposed or rewritten."""
    resized: list[Change] = field(default_factory=list)
    """Positions or patches for another image or patch size, channels for other images."""
    newly_made: list[Change] = field(default_factory=list)
    """Not in the source: initialised afresh."""
    kept_aside: list[Change] = field(default_factory=list)
    """Of the source, without a place in the model: written back when the source's format is written."""
    without_place: list[Change] = field(default_factory=list)
    """Kept aside when it was read, and not written: the target is another format than the source's."""
    left_out: list[Change] = field(default_factory=list)
    """Of the source, and lost, though it may matter: only what is allowed by name."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know: rewrites that cannot be undone, settings that were taken from where."""

    def add_translated(self, before: Row, after: Row, transformation: Transformation) -> None:
        """Enters tensors that went through a rule."""
        change = Change(before, after, transformation.description)
        if transformation.description:
            self.transformed.append(change)
        elif before == after:
            self.matched.append(change)
        else:
            self.renamed.append(change)
        if transformation.loses and transformation.loses not in self.notes:
            self.notes.append(transformation.loses)

    def add(self, kind: str, before: Row, after: Row, how: str = "") -> None:
        """Enters tensors under one of `KINDS`."""
        getattr(self, kind).append(Change(before, after, how))

    def check(
        self, allowed: Sequence[str], remedy: str = "name them or what they begin with: --allow NAME ..."
    ) -> None:
        """Compares what was left out or newly made with what is allowed.

        Args:
            allowed: names of tensors, or their beginnings up to a dot, such as `head`.
            remedy: what a person does who means it.

        Raises:
            Failure: names what is not allowed.
        """
        for kind, row_of in (("left_out", "before"), ("newly_made", "after")):
            changes: list[Change] = getattr(self, kind)
            named = [(name, change.how) for change in changes for name, _ in getattr(change, row_of).tensors]
            wrong = {name: how for name, how in named if not any(_is_below(name, place) for place in allowed)}
            if wrong:
                reasons = "; ".join(dict.fromkeys(filter(None, wrong.values())))
                because = f"{reasons[0].upper()}{reasons[1:]}. " if reasons else ""
                what = "left out" if kind == "left_out" else "newly made"
                listed = "\n  ".join(list(wrong)[:NAMED])
                more = f"\n  and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
                raise Failure(
                    f"{tensors_counted(len(wrong))} would be {what}:\n  {listed}{more}\n"
                    f"{because}Where that is meant, {remedy}"
                )

    def log_notes(self, source: object) -> None:
        """Warns of what the notes say, where nobody is shown a report."""
        for note in self.notes:
            _logger.warning("%s: %s", source, note)

    def summary(self) -> str:
        """A line for each kind that there is, and the notes."""
        lines = []
        for kind in KINDS:
            changes = getattr(self, kind)
            if changes:
                count = sum(len(change.before.tensors or change.after.tensors) for change in changes)
                lines.append(f"{kind.replace('_', ' '):<13} {tensors_counted(count, width=5)}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain values: for each kind, the tensors before and after."""
        return {
            kind: [
                {"before": _named(change.before), "after": _named(change.after), "how": change.how}
                for change in getattr(self, kind)
            ]
            for kind in KINDS
        } | {"notes": self.notes}


def tensors_counted(count: int, width: int = 0) -> str:
    """So many tensors, in words; the number takes up at least the width."""
    return f"{count:>{width}} tensor{'s' * (count != 1)}"


def _is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _named(row: Row) -> list[dict[str, Any]]:
    return [{"name": name, "shape": list(shape)} for name, shape in row.tensors]
