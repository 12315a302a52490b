"""The engine of every format's table: which foreign tensors are which of ours.

A format's table is a function from the architecture to rules. The names in a rule may hold `{layer}`, for the
number of an encoder. Reading and writing go through the same rules, so that one is the inverse of the other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from vision_transformers.config import first_of
from vision_transformers.errors import Failure
from vision_transformers.weights.report import NAMED, Report, Row, tensors_counted
from vision_transformers.weights.transformations import SAME, Transformation


@dataclass(frozen=True)
class Rule:
    """Some foreign tensors, ours, and how one becomes the other."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transformation: Transformation = SAME

    def of_layer(self, layer: int) -> "Rule":
        """The rule for one encoder."""
        return Rule(
            tuple(name.replace("{layer}", str(layer)) for name in self.theirs),
            tuple(name.replace("{layer}", str(layer)) for name in self.ours),
            self.transformation,
        )

    @property
    def is_of_layers(self) -> bool:
        """Whether there is one for each encoder."""
        return any("{layer}" in name for name in (*self.theirs, *self.ours))


def rule(
    theirs: str | tuple[str, ...], ours: str | tuple[str, ...], transformation: Transformation = SAME
) -> Rule:
    """A rule between single tensors or several."""
    return Rule(
        (theirs,) if isinstance(theirs, str) else theirs,
        (ours,) if isinstance(ours, str) else ours,
        transformation,
    )


def weight_and_bias(
    theirs: str | tuple[str, ...],
    ours: str | tuple[str, ...],
    transformation: Transformation = SAME,
    bias: bool = True,
) -> list[Rule]:
    """The rules of a layer's weight and, where it has one, its bias."""
    both = rule(theirs, ours, transformation)
    return [
        Rule(
            tuple(f"{name}.{part}" for name in both.theirs),
            tuple(f"{name}.{part}" for name in both.ours),
            transformation,
        )
        for part in ("weight", "bias")[: 1 + bias]
    ]


def read_by(
    rules: Iterable[Rule], layers: int, tensors: Mapping[str, Tensor], report: Report
) -> dict[str, Tensor]:
    """Our tensors out of the foreign ones; what no rule names stays in `tensors`, for the caller to judge.

    Raises:
        Failure: foreign tensors that the architecture needs are missing, or of a shape that cannot be theirs.
    """
    ours: dict[str, Tensor] = {}
    missing: list[str] = []
    for each in _expanded(rules, layers):
        absent = [name for name in each.theirs if name not in tensors]
        if absent:
            missing += absent
            continue
        given = tuple(tensors[name] for name in each.theirs)
        made = _read(each, given)
        ours |= dict(zip(each.ours, made, strict=True))
        report.add_translated(Row.of(each.theirs, given), Row.of(each.ours, made), each.transformation)
    if missing:
        needed = f"{tensors_counted(len(missing))} that this architecture needs"
        raise Failure(f"{needed} {'is' if len(missing) == 1 else 'are'} missing: {first_of(missing, NAMED)}")
    return ours


def write_by(
    rules: Iterable[Rule], layers: int, tensors: Mapping[str, Tensor], report: Report
) -> dict[str, Tensor]:
    """The foreign tensors out of ours.

    Raises:
        Failure: no rule says what becomes of some of our tensors: the format has no place for them.
    """
    theirs: dict[str, Tensor] = {}
    placed: set[str] = set()
    for each in _expanded(rules, layers):
        given = tuple(tensors[name] for name in each.ours)
        made = each.transformation.write(given)
        theirs |= dict(zip(each.theirs, made, strict=True))
        placed |= set(each.ours)
        report.add_translated(Row.of(each.ours, given), Row.of(each.theirs, made), each.transformation)
    if unplaced := [name for name in tensors if name not in placed]:
        raise Failure(
            f"the format has no place for {tensors_counted(len(unplaced))}: {first_of(unplaced, NAMED)}"
        )
    return theirs


def names_of(rules: Iterable[Rule], layers: int) -> set[str]:
    """The names of all foreign tensors that the rules read."""
    return {name for each in _expanded(rules, layers) for name in each.theirs}


def _read(rule: Rule, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Our tensors of one rule."""
    try:
        return rule.transformation.read(given)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in given)
        raise Failure(
            f"{', '.join(rule.theirs)} ({shapes}) cannot become {', '.join(rule.ours)} "
            f"({rule.transformation.description}): the shapes are not those of this format"
        ) from error


def _expanded(rules: Iterable[Rule], layers: int) -> Iterator[Rule]:
    for each in rules:
        if each.is_of_layers:
            yield from (each.of_layer(layer) for layer in range(layers))
        else:
            yield each
