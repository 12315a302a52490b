"""What the names of timm's architectures say that neither arguments nor shapes do."""

import re

from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import Activation

_HEADS_BY_PATTERN = {
    r"vit_base_patch\d+_plus_.*": 14,
    r"vit_base_patch16_gap_.*": 16,
    r"vit_giant_.*_(dinov2|tipsv2|radio_v3|lingbot)": 24,
    r"vit_huge_plus_.*": 20,
    r"test_vit2?": 2,
    r"test_vit3": 3,
}
"""Attention heads of architectures that have others than their size; the first that matches."""
_HEADS_BY_SIZE = {
    "7b": 32,
    "base": 12,
    "betwixt": 10,
    "giant": 16,
    "giantopt": 16,
    "gigantic": 16,
    "huge": 16,
    "large": 16,
    "little": 5,
    "medium": 8,
    "mediumd": 8,
    "small": 6,
    "so150m": 14,
    "so150m2": 13,
    "so400m": 16,
    "tiny": 3,
    "wee": 4,
    "xsmall": 4,
}
"""Attention heads by the word for the size. https://github.com/huggingface/pytorch-image-models,
timm/models/vision_transformer.py, deit.py and eva.py of release 1.0.31."""
_SIZE = re.compile(r"(?:vit|deit3?|flexivit|eva)_([a-z0-9]+)(_.*)?")
_TANH = re.compile(
    r"vit_(base_patch32|large_patch16)_siglip.*512.*|vit_base_patch32_siglip.*|vit_so400m_patch16_siglip.*|vit_giantopt.*"
)
_NOT_READ = {
    r".*_rpn_.*": "which normalises what attention and feed-forward networks give, not what they get",
    r"vit_d(little|wee)_.*": "whose attention is the difference of two",
    r"vit_pe_.*": "which has rotary positions beside learned ones",
    r"vit_.*_rope_.*": "whose rotary positions are others than DINOv3's",
    r"eva02_.*": "whose attention and feed-forward networks are others",
    r"beit.*": "whose attention has biases for relative positions",
}
"""Architectures whose weights have the names of others that compute something else."""


def architecture_of(place: str) -> str:
    """The name alone, of one such as `hf-hub:timm/vit_base_patch16_224.augreg_in21k`."""
    return place.rpartition("/")[2].partition(".")[0]


def check_architecture(name: str) -> None:
    """Refuses what would be read as something else.

    Raises:
        UsageFailure: no model here computes what one of that name does.
    """
    for pattern, why in _NOT_READ.items():
        if re.fullmatch(pattern, name):
            raise UsageFailure(f"the weights are of timm's {name}, {why}: no model here does so")


def heads_of(name: str) -> int | None:
    """Attention heads; None of a name that is not known."""
    for pattern, heads in _HEADS_BY_PATTERN.items():
        if re.fullmatch(pattern, name):
            return heads
    size = _SIZE.fullmatch(name)
    return None if size is None else _HEADS_BY_SIZE.get(size[1])


def activation_of(name: str) -> Activation:
    """Between the layers of the feed-forward networks, where their shapes do not tell."""
    if "quickgelu" in name:
        return "quick-gelu"
    return "gelu-tanh" if _TANH.fullmatch(name) else "gelu"


def normalization_epsilon_of(name: str) -> float:
    """Of every LayerNorm."""
    return 1e-5 if "_clip_" in name else 1e-6


def includes_prefix(name: str) -> bool:
    """Whether the pool reads class and register tokens, too, where no argument says so."""
    return name == "test_vit3"
