"""vit-pytorch computes the same from the same weights, so its checkpoints can be read and written."""

from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise, renamed
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

vit_pytorch = pytest.importorskip("vit_pytorch", reason="vit-pytorch is not installed")
SimpleViT = pytest.importorskip("vit_pytorch.simple_vit", reason="vit-pytorch is not installed").SimpleViT

NAMES = {
    r"patches\.patch_normalization\.(\w+)": r"to_patch_embedding.1.\1",
    r"patches\.projector\.(\w+)": r"to_patch_embedding.2.\1",
    r"patches\.token_normalization\.(\w+)": r"to_patch_embedding.3.\1",
    r"prefix_tokens\.class_token\.tokens": "cls_token",
    r"positions\.position_embeddings": "pos_embedding",
    r"transformer\.layers\.(\d+)\.attention_normalization\.(\w+)": r"transformer.layers.\1.0.norm.\2",
    r"transformer\.layers\.(\d+)\.attention\.query_key_value\.(\w+)": r"transformer.layers.\1.0.to_qkv.\2",
    r"transformer\.layers\.(\d+)\.attention\.projection\.(\w+)": r"transformer.layers.\1.0.to_out.0.\2",
    r"transformer\.layers\.(\d+)\.feed_forward_normalization\.(\w+)": r"transformer.layers.\1.1.net.0.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.input_layer\.(\w+)": r"transformer.layers.\1.1.net.1.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.output_layer\.(\w+)": r"transformer.layers.\1.1.net.4.\2",
    r"transformer\.normalization\.(\w+)": r"transformer.norm.\1",
    r"head\.classifier\.(\w+)": r"mlp_head.\1",
}
SIMPLE_NAMES = NAMES | {
    r"transformer\.layers\.(\d+)\.attention\.projection\.(\w+)": r"transformer.layers.\1.0.to_out.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.output_layer\.(\w+)": r"transformer.layers.\1.1.net.3.\2",
    r"head\.classifier\.(\w+)": r"linear_head.\1",
}
SIZES: dict[str, Any] = {
    "image_size": (24, 40),
    "patch_size": (8, 4),
    "num_classes": 5,
    "dim": 32,
    "depth": 2,
}


def ours(number_of_heads: int, **options: Any) -> nn.Module:
    fixed: dict[str, Any] = {
        "patch_normalization": True,
        "normalization_epsilon": 1e-5,
        "query_bias": False,
        "key_bias": False,
        "value_bias": False,
    }
    return randomise(ViT((8, 4), 32, 2, number_of_heads, 48, 3, 5, (24, 40), **fixed, **options))


def images() -> Tensor:
    return torch.randn(3, 3, 24, 40, generator=torch.Generator().manual_seed(1))


VITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "heads wider than the model": (
        {"number_of_heads": 4, "attention_dimension": 64},
        {"heads": 4, "dim_head": 16},
    ),
    "one head, no projection": (
        {"number_of_heads": 1, "attention_projection": False},
        {"heads": 1, "dim_head": 32},
    ),
    "mean": (
        {"number_of_heads": 4, "class_token": False, "pool": "mean"},
        {"heads": 4, "dim_head": 8, "pool": "mean"},
    ),
}


@pytest.mark.parametrize(("options", "their_options"), VITS.values(), ids=list(VITS))
def test_vit(options: dict[str, Any], their_options: dict[str, Any]) -> None:
    model = ours(**options)
    theirs = vit_pytorch.ViT(mlp_dim=48, **SIZES, **their_options).eval()
    state = renamed(model.state_dict(), NAMES)
    state = {
        name: tensor[0] if name in ("cls_token", "pos_embedding") else tensor
        for name, tensor in state.items()
    }
    state.setdefault("cls_token", torch.empty(0, 32))
    theirs.load_state_dict(state)
    assert_same_outputs(model(images()), theirs(images()))


def test_simple_vit() -> None:
    model = ours(4, class_token=False, pool="mean", positions="sine-cosine", attention_projection_bias=False)
    theirs = SimpleViT(mlp_dim=48, heads=4, dim_head=8, **SIZES).eval()
    theirs.load_state_dict(renamed(model.state_dict(), SIMPLE_NAMES))
    assert_same_outputs(model(images()), theirs(images()))
