"""What formats are called, here and elsewhere; without PyTorch, so that the command's help is instant."""

from vision_transformers.errors import UsageFailure

NATIVE = "native"
FORMAT_NAMES = (
    NATIVE,
    "timm",
    "huggingface",
    "torchvision",
    "facebook",
    "google",
    "clip",
    "vit-pytorch",
)
_ELSEWHERE = {
    "big-vision": "google",
    "facebookresearch": "facebook",
    "flax": "google",
    "hf": "huggingface",
    "hugging-face": "huggingface",
    "jax": "google",
    "lucidrains": "vit-pytorch",
    "meta": "facebook",
    "open-clip": "clip",
    "openai": "clip",
    "pytorch-image-models": "timm",
    "transformers": "huggingface",
    "vision-transformers": NATIVE,
}
"""By the name of a library or of its makers, which is told and not taken."""


def check_format(name: str) -> None:
    """Refuses what is the name of no format.

    Raises:
        UsageFailure: says what it is called here, if it is known elsewhere, and names all.
    """
    if name in FORMAT_NAMES:
        return
    plain = name.casefold().replace("_", "-")
    meant = _ELSEWHERE.get(plain, plain)
    hint = f"did you mean {meant!r}? Known" if meant in FORMAT_NAMES else "known"
    raise UsageFailure(f"format {name!r} is not known: {hint} are {', '.join(FORMAT_NAMES)}")
