"""Class names for files that have none."""

from vision_transformers.errors import UsageFailure

IMAGENET_1K = "imagenet-1k"


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
