"""Class names that a person gives."""

from collections import Counter
from collections.abc import Sequence

from vision_transformers.config import first_of
from vision_transformers.errors import UsageFailure

IMAGENET_1K = "imagenet-1k"


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names that a person gives, in their order.

    Raises:
        UsageFailure: they are no list of strings, or one is blank.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise UsageFailure(f"class names are {names!r}: expected a list of strings")
    for name in names:
        if not isinstance(name, str):
            raise UsageFailure(f"a class name is {name!r}: expected a string, such as {str(name)!r}")
        if not name.strip():
            raise UsageFailure(f"a class name is {name!r}: expected one that can be read")
    return tuple(names)


def check_distinct(names: Sequence[str]) -> None:
    """Meets names for a new head of which two are the same.

    Raises:
        UsageFailure: names them.
    """
    twice = [repr(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageFailure(f"two classes cannot have one name: {first_of(twice)}")


def named_classes(word: str) -> tuple[str, ...]:
    """The classes that a word stands for: `imagenet-1k`, the 1,000 of ILSVRC 2012.

    They are in the order of all published models, and are called as torchvision calls them.

    Raises:
        UsageFailure: the word is another.
    """
    if word != IMAGENET_1K:
        raise UsageFailure(f"classes are {word!r}: expected a list of names, or {IMAGENET_1K!r}")
    from torchvision.models import ViT_B_16_Weights

    return tuple(ViT_B_16_Weights.IMAGENET1K_V1.meta["categories"])
