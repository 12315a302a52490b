"""Everybody's Vision Transformer at the sizes of one architecture, and where it is not quite equal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from benchmarks.architectures import Architecture
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

Attention = Literal["own", "fused", "written"]
"""Which attention: the one that the project chooses, PyTorch's fused one, or products and a softmax."""


@dataclass(frozen=True)
class Opponent:
    """A way to build the model."""

    build: Callable[[Architecture, Attention], nn.Module]
    attentions: tuple[Attention, ...]
    difference: str = "none"
    """Of its model from the others'."""


def ours(architecture: Architecture, attention: Attention) -> nn.Module:  # noqa: ARG001 - it chooses by itself
    """vision_transformers."""
    patch = (architecture.patch, architecture.patch)
    sizes = (architecture.width, architecture.layers, architecture.heads, architecture.hidden)
    image = (architecture.image, architecture.image)
    return ViT(patch, *sizes, architecture.channels, architecture.classes, max_image_shape=image)


def timm(architecture: Architecture, attention: Attention) -> nn.Module:
    """timm's VisionTransformer."""
    from timm.layers.config import set_fused_attn
    from timm.models.vision_transformer import VisionTransformer

    set_fused_attn(attention == "fused")
    return VisionTransformer(
        img_size=architecture.image,
        patch_size=architecture.patch,
        in_chans=architecture.channels,
        num_classes=architecture.classes,
        embed_dim=architecture.width,
        depth=architecture.layers,
        num_heads=architecture.heads,
        mlp_ratio=architecture.hidden / architecture.width,
    )


def torchvision(architecture: Architecture, attention: Attention) -> nn.Module:  # noqa: ARG001 - it has one
    """torchvision's VisionTransformer, with a first layer of fewer channels where they are fewer."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=architecture.image,
        patch_size=architecture.patch,
        num_layers=architecture.layers,
        num_heads=architecture.heads,
        hidden_dim=architecture.width,
        mlp_dim=architecture.hidden,
        num_classes=architecture.classes,
    )
    if architecture.channels != 3:
        patch = architecture.patch
        model.conv_proj = nn.Conv2d(architecture.channels, architecture.width, patch, patch)
    return model


class Logits(nn.Module):
    """transformers' models give an object; this gives its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Logits."""
        return self.model(images).logits


def transformers(architecture: Architecture, attention: Attention) -> nn.Module:
    """transformers' ViTForImageClassification."""
    from transformers import ViTConfig, ViTForImageClassification

    options: dict[str, Any] = {
        "image_size": architecture.image,
        "patch_size": architecture.patch,
        "num_channels": architecture.channels,
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.hidden,
        "num_labels": architecture.classes,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "sdpa" if attention == "fused" else "eager",
    }
    return Logits(ViTForImageClassification(ViTConfig(**options)))


def vit_pytorch(architecture: Architecture, attention: Attention) -> nn.Module:  # noqa: ARG001 - it has one
    """lucidrains' vit-pytorch."""
    from vit_pytorch import ViT as LucidrainsViT

    return LucidrainsViT(
        image_size=architecture.image,
        patch_size=architecture.patch,
        num_classes=architecture.classes,
        dim=architecture.width,
        depth=architecture.layers,
        heads=architecture.heads,
        mlp_dim=architecture.hidden,
        channels=architecture.channels,
        dim_head=architecture.width // architecture.heads,
    )


class StartingEncoder(nn.Module):
    """A block as the document writes it that this project began from."""

    def __init__(self, width: int, hidden: int, heads: int, attention: Attention) -> None:
        super().__init__()
        self.need_weights = attention == "written"
        self.normalization = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Two residual lines."""
        output = self.normalization(input)
        weights = {"need_weights": self.need_weights, "average_attn_weights": False}
        output = self.attention(output, output, output, **weights)[0] + input
        return self.feed_forward(output) + output


class StartingViT(nn.Module):
    """The model of that document, on `torch.nn.MultiheadAttention`."""

    def __init__(self, architecture: Architecture, attention: Attention) -> None:
        super().__init__()
        width, patch = architecture.width, architecture.patch
        self.projector = nn.Conv2d(architecture.channels, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        patches = (architecture.image // patch) ** 2
        self.position_embeddings = nn.Parameter(torch.randn(1, patches + 1, width))
        self.layers = nn.Sequential(
            *(
                StartingEncoder(width, architecture.hidden, architecture.heads, attention)
                for _ in range(architecture.layers)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, architecture.classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        patches = self.projector(image).flatten(2).transpose(1, 2)
        sequence = torch.cat([self.token.expand(len(image), -1, -1), patches], dim=1)
        sequence = self.norm(self.layers(sequence + self.position_embeddings))
        return self.head(sequence[:, 0])


def starting_document(architecture: Architecture, attention: Attention) -> nn.Module:
    """The document's model."""
    return StartingViT(architecture, attention)


OURS = "vision_transformers"
STARTING_DOCUMENT = "starting document"
OPPONENTS = {
    OURS: Opponent(ours, ("own",), "the last layer computes the class token alone"),
    "timm": Opponent(timm, ("fused", "written")),
    "torchvision": Opponent(torchvision, ("fused",)),
    "transformers": Opponent(transformers, ("fused", "written")),
    "vit-pytorch": Opponent(
        vit_pytorch,
        ("written",),
        "no biases in queries, keys, values; LayerNorms around the patch projection",
    ),
    STARTING_DOCUMENT: Opponent(starting_document, ("fused", "written")),
}
