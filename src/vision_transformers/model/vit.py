"""The Vision Transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929)."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import building
from vision_transformers.model.config import ViTConfig, check_options
from vision_transformers.model.head import ClassificationHead, DistillationHead
from vision_transformers.model.patches import check_images, grid_shape
from vision_transformers.model.plain import has_hooks, is_plain, is_watched
from vision_transformers.model.rotary import Rotation


class ViT(nn.Module):
    """An image is cut into patches; a transformer reads them as a sequence; its first token says the class.

        z_0  = [x_class; x_p E] + E_pos                           Equation 1
        z'_l = MSA(LN(z_{l-1})) + z_{l-1},     l = 1 ... L        Equation 2
        z_l  = MLP(LN(z'_l)) + z'_l,           l = 1 ... L        Equation 3
        y    = LN(z_L^0)                                          Equation 4

    Args:
        patch_shape: rows and columns of pixels in a patch.
        model_dimension: width of a token, D.
        number_of_layers: encoders in the transformer, L.
        number_of_heads: attention heads of each; they divide model_dimension.
        hidden_dimension: width inside the feed-forward networks.
        number_of_channels: channels of the image.
        number_of_classes: logits; 0 for none, which gives what the last linear layer would read.
        max_image_shape: rows and columns of pixels that the positions are made for.
        dropout: on embeddings, attention weights and in the feed-forward networks, in training.
        options: the other fields of `ViTConfig`; their defaults are the paper's model.

    Raises:
        ValueError: a size that cannot be, or options that contradict each other.
        TypeError: an option that `ViTConfig` does not have; names the nearest.
    """

    def __init__(
        self,
        patch_shape: tuple[int, int],
        model_dimension: int,
        number_of_layers: int,
        number_of_heads: int,
        hidden_dimension: int,
        number_of_channels: int,
        number_of_classes: int,
        max_image_shape: tuple[int, int] = (28, 28),
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        check_options(options)
        self.config = ViTConfig(
            patch_shape,
            model_dimension,
            number_of_layers,
            number_of_heads,
            hidden_dimension,
            number_of_channels,
            number_of_classes,
            max_image_shape,
            dropout,
            **options,
        )
        self.patches = building.feature_extractor(self.config)
        self.prefix_tokens = building.prefix_tokens(self.config)
        self.positions = building.positional_encoding(self.config)
        self.dropout = nn.Dropout(dropout)
        self.normalization = building.normalization(self.config, self.config.normalization_before_blocks)
        self.rotary_positions = building.rotary_positions(self.config)
        self.transformer = building.transformer(self.config)
        self.head = building.classification_head(self.config)

    def __setattr__(self, name: str, value: Any) -> None:
        """As of every module, but that a head is no linear layer, which elsewhere is put in its place.

        Raises:
            TypeError: says where the last layer is; of all tokens, this one would give logits for each.
        """
        if name == "head" and isinstance(value, nn.Linear):
            raise TypeError(
                "model.head reads the whole sequence, and a linear layer in its place would give logits for "
                "each token: replace model.head.classifier, or call model.reset_classifier(number_of_classes)"
            )
        super().__setattr__(name, value)

    @classmethod
    def from_config(cls, config: ViTConfig) -> "ViT":
        """The model that a config describes, freshly initialised."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(config)})

    def reset_classifier(self, number_of_classes: int) -> None:
        """Puts a freshly initialised last layer in place, for other classes; all else stays.

        Args:
            number_of_classes: logits; 0 for none.

        Raises:
            ValueError: such a number cannot be; nothing is changed.
        """
        config = replace(self.config, number_of_classes=number_of_classes)
        self.head.reset_classifier(number_of_classes)
        self.config = config
        self.head.to(next(self.parameters()).device, self.dtype)

    @property
    def number_of_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation and register tokens."""
        return self.config.number_of_prefix_tokens

    @property
    def dtype(self) -> torch.dtype:
        """Of the residual stream: as the first parameter; integers, as of quantised layers, do not count."""
        found = next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), None)
        # Replicas of DataParallel name no parameters.
        return self.patches.projector.weight.dtype if found is None else found

    @property
    def tokens_read(self) -> int | None:
        """How many tokens of the last layer the head reads, from the first; None for all of them.

        The logits need no others, so that with a class token the last layer is cheap. All of them where a
        head of another class is in place, which may read them, or where hooks on the head, the last layer or
        the transformer are to see them; in a compiled model, those that were there when it was compiled.
        Pre-hooks that only administer, as those of FSDP and of pruning, count, too.
        """
        if type(self.head) not in (ClassificationHead, DistillationHead) or self.head.tokens_read is None:
            return None
        last = [*self.transformer.layers][-1:]
        watched = any(is_watched(module) for module in (*last, self.transformer.normalization, self.head))
        return None if watched or has_hooks(self.transformer) else self.head.tokens_read

    def grid(self, image: Float[Tensor, "batch channels height width"]) -> tuple[int, int]:
        """Rows and columns of patches in these images.

        Raises:
            ValueError: they are no batch of floats, or the patch does not divide them; names the two nearest
                sizes that work.
        """
        check_images(image)
        return grid_shape((image.shape[2], image.shape[3]), self.config.patch_shape)

    def added_positions(self, grid: tuple[int, int]) -> Float[Tensor, "1 tokens model_dimension"]:
        """What positions of any kind add to the tokens of a grid: zeros where they are rotary or none."""
        tokens = self.number_of_prefix_tokens + grid[0] * grid[1]
        device = next(self.parameters()).device
        nothing = torch.zeros(1, tokens, self.config.model_dimension, dtype=self.dtype, device=device)
        return self.positions(nothing, grid)

    def forward(
        self, image: Float[Tensor, "batch channels height width"], need_weights: bool = False
    ) -> (
        Float[Tensor, "batch classes"]
        | tuple[Float[Tensor, "batch classes"], list[Float[Tensor, "batch heads tokens tokens"] | None]]
    ):
        """Logits; with `need_weights`, also the attention weights of each layer.

        Raises:
            ValueError: the images are no batch of floats, or the patch does not divide them.
        """
        sequence, weights = self.encode(image, need_weights, None if need_weights else self.tokens_read)
        logits = self.head(sequence)
        return (logits, weights) if need_weights else logits

    def features(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch tokens model_dimension"], Float[Tensor, "batch pooled_dimension"]]:
        """The tokens after the final norm, prefix tokens first, and the pooled vector that the head reads.

        With somebody's own head in place, which need not pool, `encode` gives the tokens alone.
        """
        sequence, _ = self.encode(image)
        return sequence, self.head.pooled(sequence)

    def logits_and_features(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch pooled_dimension"]]:
        """What `forward` gives, and the pooled vector that the head makes it of; a head as of `features`."""
        sequence, _ = self.encode(image, number_of_queries=self.tokens_read)
        pooled = self.head.pooled(sequence)
        is_ours = any(is_plain(self.head, kind) for kind in (ClassificationHead, DistillationHead))
        return (self.head.logits(pooled) if is_ours else self.head(sequence)), pooled

    def embed(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """Equation 1: patches, the tokens before them, and positions."""
        # Under autocast patches come in bfloat16; the residual stream keeps the parameters' precision.
        patches = self.patches(image).to(self.dtype)
        sequence = self.prefix_tokens(patches)
        return self.dropout(self.positions(sequence, self.grid(image)))

    def encode(
        self,
        image: Float[Tensor, "batch channels height width"],
        need_weights: bool = False,
        number_of_queries: int | None = None,
    ) -> tuple[
        Float[Tensor, "batch queries model_dimension"],
        list[Float[Tensor, "batch heads _ tokens"] | None],
    ]:
        """Equations 1 to 3 and the final norm: the sequence, and each layer's attention weights or None.

        Args:
            image: normalised.
            need_weights: whether to give the attention weights.
            number_of_queries: how many tokens to give, from the first; all if None. The last layer
                computes no others.
        """
        sequence, rotation = self.transformer_inputs(image)
        return self.transformer(sequence, need_weights, rotation, number_of_queries)

    def states(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch tokens model_dimension"]]:
        """The tokens after each layer, prefix tokens first, as segmentation, detection and probes read them.

        They are not normalised: `model.transformer.normalization` of the last is what `encode` gives.
        """
        sequence, rotation = self.transformer_inputs(image)
        return [state for state, _ in self.transformer.states(sequence, rotation)]

    def feature_maps(
        self, image: Float[Tensor, "batch channels height width"], layers: Sequence[int] = (-1,)
    ) -> list[Float[Tensor, "batch model_dimension rows columns"]]:
        """The patches after some layers, normalised and in their places, as decoders of pixels read them.

        Args:
            image: normalised.
            layers: which, from 0, or from -1 for the last; maps come in this order.

        Raises:
            IndexError: there is no such layer.
        """
        states, grid = self.states(image), self.grid(image)
        normalised = (self.transformer.normalization(states[layer]) for layer in layers)
        return [tokens[:, self.number_of_prefix_tokens :].mT.unflatten(2, grid) for tokens in normalised]

    def transformer_inputs(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch tokens model_dimension"], Rotation | None]:
        """What the first layer reads: the embedded tokens, and rotary positions if the model has such."""
        rotation = self.rotary_positions(self.grid(image), image.device)
        return self.normalization(self.embed(image)), rotation
