"""The whole description of a Vision Transformer, as plain values: what a model folder stores."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vision_transformers.config import nearest

Positions = Literal["learnable", "sine-cosine", "sine-cosine-mae", "rotary", "none"]
PositionResize = Literal[
    "bicubic-antialias",
    "bicubic",
    "bicubic-aligned-corners",
    "bicubic-offset",
    "bilinear",
    "bilinear-aligned-corners",
]
Activation = Literal["gelu", "gelu-tanh", "quick-gelu", "swiglu"]
PatchExtractor = Literal["linear", "convolutional", "stem"]
Pool = Literal["class", "mean", "mean-all", "class-mean", "attention"]
LowRankPart = Literal["query", "key", "value", "projection", "feed-forward"]


@dataclass(frozen=True)
class ViTConfig:
    """The fields of `ViT`; with the defaults, the model of the paper (arXiv 2010.11929)."""

    patch_shape: tuple[int, int]
    """Rows and columns of pixels in a patch."""
    model_dimension: int
    """Width of a token: the paper's latent vector size D."""
    number_of_layers: int
    """Encoders in the transformer: the paper's L."""
    number_of_heads: int
    """Attention heads of each encoder."""
    hidden_dimension: int
    """Width inside the feed-forward network; of each of its two inputs for `swiglu`."""
    number_of_channels: int
    """Channels of the image."""
    number_of_classes: int
    """Logits; 0 for none: the model then gives what its last linear layer would read, the pooled vector or
    the pre-logits (`vit train` takes the number from the data)."""
    max_image_shape: tuple[int, int] = (28, 28)
    """Rows and columns of pixels that the positions are made for; they are resized for every other."""
    dropout: float = 0.0
    """On embeddings, attention weights and inside the feed-forward network, in training."""

    patch_extractor: PatchExtractor = "linear"
    """`linear` and `convolutional` compute the same projection of patches; `stem` has convolutions that halve
    the image until a pixel is a patch (arXiv 2106.14881)."""
    patch_bias: bool = True
    """Whether the projection of patches has a bias."""
    patch_normalization: bool = False
    """LayerNorms before and after the projection of patches; `linear` only."""

    class_token: bool = True
    """The learned token x_class, in front of the patches (Equation 1)."""
    distillation_token: bool = False
    """A second learned token with a head of its own (DeiT, arXiv 2012.12877)."""
    number_of_register_tokens: int = 0
    """Learned tokens that no head reads (arXiv 2309.16588)."""

    positions: Positions = "learnable"
    """`sine-cosine` as in arXiv 2205.01580, `sine-cosine-mae` as in 2111.06377, `rotary` as in 2508.10104."""
    prefix_positions: Literal["none", "class", "all"] = "all"
    """Prefix tokens that have a learnable position; no other kind of positions touches prefix tokens."""
    position_resize: PositionResize = "bicubic-antialias"
    """How learnable positions are resized for another grid."""
    rotary_base: float = 100.0
    """Periods of rotary positions go from 1 up to, not including, it, in units of half the image."""

    normalization_epsilon: float = 1e-6
    """Epsilon of every LayerNorm."""
    normalization_before_blocks: bool = False
    """A LayerNorm between the embeddings and the first encoder (CLIP, arXiv 2103.00020)."""
    activation: Activation = "gelu"
    """`gelu` is exact; `swiglu` (arXiv 2002.05202) has two input layers."""
    query_bias: bool = True
    """Whether the queries have a bias."""
    key_bias: bool = True
    """Whether the keys have a bias."""
    value_bias: bool = True
    """Whether the values have a bias."""
    attention_dimension: int | None = None
    """Width of all heads together; model_dimension if not given."""
    attention_projection: bool = True
    """Whether a linear layer follows the joined heads."""
    attention_projection_bias: bool = True
    """Whether that layer has a bias."""
    query_key_normalization: bool = False
    """LayerNorms on queries and keys, over each head (arXiv 2302.05442)."""
    layer_scale: float | None = None
    """First value of a learned scale on each residual branch (arXiv 2103.17239); none if not given."""
    stochastic_depth: float = 0.0
    """Chance that an image skips the last encoder's branches in training; for earlier ones it is less."""

    pool: Pool = "class"
    """What the head reads; `mean` is of patches, `attention` is SigLIP's (arXiv 2303.15343)."""
    final_normalization: Literal["before-pool", "after-pool"] = "before-pool"
    """Where the last LayerNorm stands."""
    pre_logits_dimension: int | None = None
    """Width of a linear layer with tanh before the last one; none if not given."""

    def __post_init__(self) -> None:
        for name in ("patch_shape", "max_image_shape"):
            object.__setattr__(self, name, _rows_and_columns(name, getattr(self, name)))
        self._check_choices()
        self._check_sizes()
        if self.patch_extractor == "stem":
            check_stem(self.patch_shape, self.model_dimension)
        self._check_attention()
        self._check_tokens()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at `max_image_shape`."""
        return (
            self.max_image_shape[0] // self.patch_shape[0],
            self.max_image_shape[1] // self.patch_shape[1],
        )

    @property
    def number_of_prefix_tokens(self) -> int:
        """Class, distillation and register tokens: those before the patches."""
        return self.class_token + self.distillation_token + self.number_of_register_tokens

    @property
    def number_of_prefix_positions(self) -> int:
        """Prefix tokens, from the first, that have a learnable position."""
        return {"none": 0, "class": int(self.class_token), "all": self.number_of_prefix_tokens}[
            self.prefix_positions
        ]

    @property
    def head_dimension(self) -> int:
        """Width of one attention head."""
        return (self.attention_dimension or self.model_dimension) // self.number_of_heads

    @property
    def pooled_dimension(self) -> int:
        """Width of the vector that the head reads: of two tokens, joined, for `class-mean` and with a
        distillation token."""
        return self.model_dimension * (2 if self.pool == "class-mean" or self.distillation_token else 1)

    def _check_choices(self) -> None:
        for name, hint in get_type_hints(ViTConfig).items():
            if get_origin(hint) is Literal and getattr(self, name) not in get_args(hint):
                choice = getattr(self, name)
                raise ValueError(f"{name} is {choice!r}: {nearest(str(choice), get_args(hint))}")

    def _check_sizes(self) -> None:
        sizes = (
            "model_dimension",
            "number_of_layers",
            "number_of_heads",
            "hidden_dimension",
            "number_of_channels",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more")
        for name in ("attention_dimension", "pre_logits_dimension"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more, or None")
        for name in ("number_of_classes", "number_of_register_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more")
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0 and less than 1")
        for name in ("normalization_epsilon", "rotary_base", "layer_scale"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: expected a number above 0")
        for size, patch in zip(self.max_image_shape, self.patch_shape, strict=True):
            if patch < 1 or size < patch or size % patch:
                raise ValueError(
                    f"max_image_shape {self.max_image_shape} is not whole patches of {self.patch_shape}"
                )

    def _check_attention(self) -> None:
        width = self.attention_dimension or self.model_dimension
        if width % self.number_of_heads:
            raise ValueError(f"number_of_heads is {self.number_of_heads}, which does not divide {width}")
        if not self.attention_projection and width != self.model_dimension:
            raise ValueError(
                f"attention_dimension is {width}: "
                f"without attention_projection, expected {self.model_dimension}"
            )
        if self.pool == "attention" and self.model_dimension % self.number_of_heads:
            raise ValueError(
                f"number_of_heads is {self.number_of_heads}, which does not divide {self.model_dimension}"
            )
        if self.positions == "rotary" and self.head_dimension % 4:
            raise ValueError(
                f"rotary positions need heads whose width 4 divides: it is {self.head_dimension}"
            )
        if self.positions.startswith("sine-cosine") and (
            self.model_dimension % 4 or self.model_dimension < 8
        ):
            raise ValueError(
                "sine-cosine positions need a model_dimension of at least 8 that 4 divides: "
                f"it is {self.model_dimension}"
            )

    def _check_tokens(self) -> None:
        if self.pool in ("class", "class-mean") and not self.class_token:
            raise ValueError(f"pool is {self.pool!r}, but class_token is False: choose 'mean' or 'attention'")
        if self.distillation_token and self.pool != "class":
            raise ValueError(f"a distillation_token needs pool 'class': it is {self.pool!r}")
        if self.distillation_token and self.pre_logits_dimension is not None:
            raise ValueError("a distillation_token has no pre_logits_dimension: its two heads are linear")
        if self.patch_normalization and self.patch_extractor != "linear":
            raise ValueError("patch_normalization needs the linear patch_extractor: it works on flat patches")


def _rows_and_columns(name: str, shape: Any) -> tuple[int, int]:
    """As a tuple, whatever it was given as: equal configs are equal."""
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"{name} is {shape!r}: expected rows and columns, as in (16, 16)")
    rows, columns = shape
    return rows, columns


def check_options(names: Iterable[str]) -> None:
    """Raises TypeError for an option that `ViTConfig` does not have; names the nearest."""
    known = [field.name for field in fields(ViTConfig)]
    for name in names:
        if name not in known:
            raise TypeError(f"a ViT has no option {name!r}: {nearest(name, known)}")


def check_stem(patch_shape: tuple[int, int], model_dimension: int) -> None:
    """Raises ValueError where an image does not become patches by halving, or the width does not halve."""
    rows, columns = patch_shape
    if rows != columns or rows < 2 or rows.bit_count() != 1:
        raise ValueError(
            f"patch_shape is {patch_shape}: a stem halves the image until a pixel is a patch, "
            "so that it needs (2, 2), (4, 4), (8, 8), (16, 16) or so"
        )
    if model_dimension % (rows // 2):
        raise ValueError(
            f"model_dimension is {model_dimension}: "
            f"a stem for patches of {rows} x {columns} needs a multiple of {rows // 2}"
        )


@dataclass(frozen=True)
class LowRankConfig:
    """Low-rank adaptation (arXiv 2106.09685): small matrices learn beside layers that stay as they are."""

    rank: int = 0
    """Of each matrix; 0 for no adaptation. Otherwise these matrices and the head learn, and nothing else."""
    alpha: float = 16.0
    """How strong the change is: it is multiplied by alpha / rank."""
    parts: tuple[LowRankPart, ...] = ("query", "value")
    """Which linear layers of each encoder, or parts of them, are changed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.rank < 0:
            raise ValueError(f"low_rank.rank is {self.rank}: expected 0 or more")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"low_rank.alpha is {self.alpha}: expected a number above 0")
        if not self.parts:
            raise ValueError("low_rank.parts is empty: name at least one part")
        for part in self.parts:
            if part not in get_args(LowRankPart):
                raise ValueError(f"low_rank.parts has {part!r}: {nearest(str(part), get_args(LowRankPart))}")
