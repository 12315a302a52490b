"""timm computes the same from the same weights, so its checkpoints can be read and written."""

from functools import partial
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise, renamed
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

timm = pytest.importorskip("timm", reason="timm is not installed")

VISION_TRANSFORMER = {
    r"patches\.projector\.(\w+)": r"patch_embed.proj.\1",
    r"prefix_tokens\.class_token\.tokens": "cls_token",
    r"prefix_tokens\.distillation_token\.tokens": "dist_token",
    r"prefix_tokens\.registers\.tokens": "reg_token",
    r"positions\.position_embeddings": "pos_embed",
    r"normalization\.(\w+)": r"norm_pre.\1",
    r"transformer\.layers\.(\d+)\.attention_normalization\.(\w+)": r"blocks.\1.norm1.\2",
    r"transformer\.layers\.(\d+)\.attention\.query_key_value\.(\w+)": r"blocks.\1.attn.qkv.\2",
    r"transformer\.layers\.(\d+)\.attention\.query_normalization\.(\w+)": r"blocks.\1.attn.q_norm.\2",
    r"transformer\.layers\.(\d+)\.attention\.key_normalization\.(\w+)": r"blocks.\1.attn.k_norm.\2",
    r"transformer\.layers\.(\d+)\.attention\.projection\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"transformer\.layers\.(\d+)\.attention_scale\.scale": r"blocks.\1.ls1.gamma",
    r"transformer\.layers\.(\d+)\.feed_forward_normalization\.(\w+)": r"blocks.\1.norm2.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.(?:input|gate_up)_layer\.(\w+)": r"blocks.\1.mlp.fc1.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.output_layer\.(\w+)": r"blocks.\1.mlp.fc2.\2",
    r"transformer\.layers\.(\d+)\.feed_forward_scale\.scale": r"blocks.\1.ls2.gamma",
    r"transformer\.normalization\.(\w+)": r"norm.\1",
    r"head\.pool\.probe": "attn_pool.latent",
    r"head\.pool\.query\.(\w+)": r"attn_pool.q.\1",
    r"head\.pool\.key_value\.(\w+)": r"attn_pool.kv.\1",
    r"head\.pool\.projection\.(\w+)": r"attn_pool.proj.\1",
    r"head\.pool\.normalization\.(\w+)": r"attn_pool.norm.\1",
    r"head\.pool\.feed_forward\.input_layer\.(\w+)": r"attn_pool.mlp.fc1.\1",
    r"head\.pool\.feed_forward\.output_layer\.(\w+)": r"attn_pool.mlp.fc2.\1",
    r"head\.normalization\.(\w+)": r"fc_norm.\1",
    r"head\.classifier\.(\w+)": r"head.\1",
    r"head\.distillation_classifier\.(\w+)": r"head_dist.\1",
}
EVA = VISION_TRANSFORMER | {
    r"transformer\.layers\.(\d+)\.attention_scale\.scale": r"blocks.\1.gamma_1",
    r"transformer\.layers\.(\d+)\.feed_forward_scale\.scale": r"blocks.\1.gamma_2",
}

DIMENSION = 32
SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "num_classes": 5,
    "embed_dim": DIMENSION,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 1.5,
}


def ours(**options: Any) -> nn.Module:
    sizes: dict[str, Any] = {"number_of_classes": 5, "hidden_dimension": 48, "max_image_shape": (32, 32)}
    model = ViT(
        (8, 8), DIMENSION, 2, 4, number_of_channels=3, patch_extractor="convolutional", **sizes, **options
    )
    return randomise(model)


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1))


def vision_transformer(**options: Any) -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(**SIZES, **options)


def norm(epsilon: float) -> partial[nn.Module]:
    return partial(timm.layers.LayerNorm, eps=epsilon)


VISION_TRANSFORMERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class token": ({}, {}),
    "registers with positions": ({"number_of_register_tokens": 3}, {"reg_tokens": 3}),
    "DINOv2 with registers": (
        {"number_of_register_tokens": 4, "prefix_positions": "none", "layer_scale": 1e-5},
        {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5},
    ),
    "DeiT III": (
        {"prefix_positions": "none", "layer_scale": 1e-5},
        {"no_embed_class": True, "init_values": 1e-5},
    ),
    "SigLIP": (
        {"class_token": False, "pool": "attention", "activation": "gelu-tanh"},
        {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"},
    ),
    "CLIP": (
        {
            "normalization_before_blocks": True,
            "patch_bias": False,
            "activation": "quick-gelu",
            "normalization_epsilon": 1e-5,
        },
        {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": norm(1e-5)},
    ),
    "mean of patches, then norm": (
        {"pool": "mean", "final_normalization": "after-pool"},
        {"global_pool": "avg"},
    ),
    "norm, then mean of patches": ({"pool": "mean"}, {"global_pool": "avg", "fc_norm": False}),
    "mean of all tokens": (
        {"pool": "mean-all", "number_of_register_tokens": 1},
        {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True, "reg_tokens": 1},
    ),
    "registers without class token": (
        {
            "class_token": False,
            "number_of_register_tokens": 1,
            "pool": "mean",
            "final_normalization": "after-pool",
        },
        {"class_token": False, "reg_tokens": 1, "global_pool": "avg"},
    ),
    "query and key norms": (
        {"query_key_normalization": True, "query_bias": False, "key_bias": False, "value_bias": False},
        {"qk_norm": True, "qkv_bias": False},
    ),
    "no positions": ({"positions": "none"}, {"pos_embed": "none"}),
    "SwiGLU": (
        {"activation": "swiglu"},
        {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": "silu", "mlp_ratio": 3.0},
    ),
}


@pytest.mark.parametrize(
    ("options", "timm_options"), VISION_TRANSFORMERS.values(), ids=list(VISION_TRANSFORMERS)
)
def test_vision_transformer(options: dict[str, Any], timm_options: dict[str, Any]) -> None:
    model = ours(**options)
    theirs = timm.models.vision_transformer.VisionTransformer(**SIZES | timm_options).eval()
    theirs.load_state_dict(renamed(model.state_dict(), VISION_TRANSFORMER))
    assert_same_outputs(model(images()), theirs(images()))


def test_feature_maps_are_its_intermediates() -> None:
    model, theirs = ours(), vision_transformer().eval()
    theirs.load_state_dict(renamed(model.state_dict(), VISION_TRANSFORMER))
    taken = {"indices": [0, 1], "norm": True, "intermediates_only": True}
    expected = theirs.forward_intermediates(images(), **taken)
    for found, one in zip(model.eval().feature_maps(images(), (0, 1)), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-4, atol=1e-4)


def test_tokens_that_features_gives() -> None:
    model = ours(number_of_register_tokens=2)
    theirs = vision_transformer(reg_tokens=2).eval()
    theirs.load_state_dict(renamed(model.state_dict(), VISION_TRANSFORMER))
    assert_same_outputs(model.features(images())[0], theirs.forward_features(images()))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 48), (24, 40)])
def test_images_of_another_size_than_the_positions(height: int, width: int) -> None:
    model = ours(number_of_register_tokens=2)
    theirs = vision_transformer(reg_tokens=2, dynamic_img_size=True).eval()
    theirs.load_state_dict(renamed(model.state_dict(), VISION_TRANSFORMER))
    assert_same_outputs(model(images(height, width)), theirs(images(height, width)))


def test_deit_with_a_distillation_token() -> None:
    model = ours(distillation_token=True)
    theirs = timm.models.deit.VisionTransformerDistilled(**SIZES).eval()
    theirs.load_state_dict(renamed(model.state_dict(), VISION_TRANSFORMER))
    assert_same_outputs(model(images()), theirs(images()))


DINOV3: dict[str, Any] = {
    "number_of_register_tokens": 4,
    "positions": "rotary",
    "layer_scale": 1e-5,
    "normalization_epsilon": 1e-5,
    "key_bias": False,
}


def eva(**options: Any) -> nn.Module:
    model: nn.Module = timm.models.eva.Eva(
        **SIZES,
        num_reg_tokens=4,
        init_values=1e-5,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_fc_norm=False,
        norm_layer=norm(1e-5),
        dynamic_img_size=True,
        **options,
    )
    return model.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 48)])
@pytest.mark.parametrize(("pool", "timm_pool"), [("class", "token"), ("mean", "avg")])
def test_dinov3(height: int, width: int, pool: str, timm_pool: str) -> None:
    model = ours(**DINOV3, query_bias=False, value_bias=False, pool=pool)
    theirs = eva(qkv_bias=False, global_pool=timm_pool)
    theirs.load_state_dict(renamed(model.state_dict(), EVA))
    assert_same_outputs(model(images(height, width)), theirs(images(height, width)))


def test_dinov3_with_biases_of_queries_and_values() -> None:
    model = ours(**DINOV3)
    state = renamed(model.state_dict(), EVA)
    for layer in range(2):
        queries, values = state.pop(f"blocks.{layer}.attn.qkv.bias").chunk(2)
        state |= {f"blocks.{layer}.attn.q_bias": queries, f"blocks.{layer}.attn.v_bias": values}
    theirs = eva(qkv_bias=True, global_pool="token")
    theirs.load_state_dict(state)
    assert_same_outputs(model(images()), theirs(images()))
