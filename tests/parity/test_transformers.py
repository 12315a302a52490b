"""Hugging Face transformers computes the same from the same weights, so its checkpoints can be used."""

from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise, renamed, split_rows
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

ATTENTION = {
    r"{old}\.attention\.query\.(\w+)": r"{new}.attention.q_proj.\2",
    r"{old}\.attention\.key\.(\w+)": r"{new}.attention.k_proj.\2",
    r"{old}\.attention\.value\.(\w+)": r"{new}.attention.v_proj.\2",
    r"{old}\.attention\.projection\.(\w+)": r"{new}.attention.o_proj.\2",
    r"{old}\.attention_scale\.scale": r"{new}.layer_scale1.lambda1",
    r"{old}\.feed_forward_scale\.scale": r"{new}.layer_scale2.lambda1",
}
FEED_FORWARD = {
    r"{old}\.feed_forward\.input_layer\.(\w+)": r"{new}.mlp.fc1.\2",
    r"{old}\.feed_forward\.output_layer\.(\w+)": r"{new}.mlp.fc2.\2",
}
GATED_FEED_FORWARD = {
    r"{old}\.feed_forward\.gate\.(\w+)": r"{new}.mlp.gate_proj.\2",
    r"{old}\.feed_forward\.up\.(\w+)": r"{new}.mlp.up_proj.\2",
    r"{old}\.feed_forward\.output_layer\.(\w+)": r"{new}.mlp.down_proj.\2",
}
EMBEDDINGS = {
    r"patches\.projector\.(\w+)": r"embeddings.patch_embeddings.projection.\1",
    r"prefix_tokens\.class_token\.tokens": "embeddings.cls_token",
    r"prefix_tokens\.distillation_token\.tokens": "embeddings.distillation_token",
    r"prefix_tokens\.registers\.tokens": "embeddings.register_tokens",
    r"positions\.position_embeddings": "embeddings.position_embeddings",
}


def layers(place: str, norms: tuple[str, str], *tables: dict[str, str]) -> dict[str, str]:
    """The rows of a table for the layers that lie at `place`, whose two norms have these names."""
    rows = {
        r"{old}\.attention_normalization\.(\w+)": rf"{{new}}.{norms[0]}.\2",
        r"{old}\.feed_forward_normalization\.(\w+)": rf"{{new}}.{norms[1]}.\2",
    }
    for table in tables:
        rows |= table
    return {
        old.replace("{old}", r"transformer\.layers\.(\d+)"): new.replace("{new}", rf"{place}.\1")
        for old, new in rows.items()
    }


VIT = (
    EMBEDDINGS
    | layers("layers", ("layernorm_before", "layernorm_after"), ATTENTION, FEED_FORWARD)
    | {r"transformer\.normalization\.(\w+)": r"layernorm.\1"}
)
DINOV2 = (
    EMBEDDINGS
    | layers("encoder.layer", ("norm1", "norm2"), ATTENTION, FEED_FORWARD)
    | {r"transformer\.normalization\.(\w+)": r"layernorm.\1"}
)
DINOV3 = (
    EMBEDDINGS
    | {r"patches\.projector\.(\w+)": r"embeddings.patch_embeddings.\1"}
    | layers("model.layer", ("norm1", "norm2"), ATTENTION, GATED_FEED_FORWARD)
    | {r"transformer\.normalization\.(\w+)": r"norm.\1"}
)
CLIP = {
    r"patches\.projector\.(\w+)": r"embeddings.patch_embedding.\1",
    r"prefix_tokens\.class_token\.tokens": "embeddings.class_embedding",
    r"positions\.position_embeddings": "embeddings.position_embedding.weight",
    r"normalization\.(\w+)": r"pre_layrnorm.\1",
    **{
        old: new.replace("attention.", "self_attn.").replace("o_proj", "out_proj")
        for old, new in layers(
            "encoder.layers", ("layer_norm1", "layer_norm2"), ATTENTION, FEED_FORWARD
        ).items()
    },
    r"transformer\.normalization\.(\w+)": r"post_layernorm.\1",
}
SIGLIP = CLIP | {
    r"head\.pool\.probe": "head.probe",
    r"head\.pool\.(query|key_value)\.(\w+)": r"head.attention.\1.\2",
    r"head\.pool\.projection\.(\w+)": r"head.attention.out_proj.\1",
    r"head\.pool\.normalization\.(\w+)": r"head.layernorm.\1",
    r"head\.pool\.feed_forward\.input_layer\.(\w+)": r"head.mlp.fc1.\1",
    r"head\.pool\.feed_forward\.output_layer\.(\w+)": r"head.mlp.fc2.\1",
}
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}


def ours(number_of_classes: int = 5, hidden_dimension: int = 48, **options: Any) -> nn.Module:
    sizes: dict[str, Any] = {"max_image_shape": (32, 32), "patch_extractor": "convolutional"}
    return randomise(ViT((8, 8), 32, 2, 4, hidden_dimension, 3, number_of_classes, **sizes | options))


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1))


def state_of(model: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Our weights under their names: they keep q, k and v, and gate and up, as matrices of their own."""
    state = split_rows(
        model.state_dict(),
        "attention.query_key_value",
        ("attention.query", "attention.key", "attention.value"),
    )
    return renamed(split_rows(state, "gate_up_layer", ("gate", "up")), names)


def in_task(names: dict[str, str], base: str, classifier: str = "classifier") -> dict[str, str]:
    """A base model's table, with the names that a model with a classifier has."""
    heads = {
        r"head\.classifier\.(\w+)": rf"{classifier}.\1",
        r"head\.distillation_classifier\.(\w+)": r"distillation_classifier.\1",
    }
    return {old: f"{base}.{new}" for old, new in names.items()} | heads


def load(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Loads all of the weights; what may be missing is only what masked training needs."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("mask_token") for name in missing)
    return model.eval()


def test_vit() -> None:
    model = ours()
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, layer_norm_eps=1e-6))
    load(theirs, state_of(model, in_task(VIT, "vit")))
    assert_same_outputs(model(images()), theirs(images()).logits)


def test_vit_on_images_of_another_size_than_the_positions() -> None:
    model = ours(position_resize="bicubic")
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, layer_norm_eps=1e-6))
    load(theirs, state_of(model, in_task(VIT, "vit")))
    logits = theirs(images(24, 40), interpolate_pos_encoding=True).logits
    assert_same_outputs(model(images(24, 40)), logits)


def test_attention_weights() -> None:
    model = ours()
    configuration = transformers.ViTConfig(**SIZES, layer_norm_eps=1e-6, attn_implementation="eager")
    theirs = load(transformers.ViTForImageClassification(configuration), state_of(model, in_task(VIT, "vit")))
    _, weights = model(images(), need_weights=True)
    attentions = theirs(images(), output_attentions=True).attentions
    for layer in range(2):
        torch.testing.assert_close(weights[layer], attentions[layer], rtol=0, atol=1e-6)


def test_deit_with_teacher() -> None:
    model = ours(distillation_token=True)
    theirs = transformers.DeiTForImageClassificationWithTeacher(
        transformers.DeiTConfig(**SIZES, layer_norm_eps=1e-6)
    )
    load(theirs, state_of(model, in_task(VIT, "deit", "cls_classifier")))
    assert_same_outputs(model(images()), theirs(images()).logits)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
@pytest.mark.parametrize("gated", [False, True])
def test_dinov2(height: int, width: int, gated: bool) -> None:
    """Its classifier reads the class token and the mean of the patches."""
    sizes = {name: size for name, size in SIZES.items() if name != "intermediate_size"}
    hidden = 88 if gated else 128
    model = ours(
        hidden_dimension=hidden,
        activation="swiglu" if gated else "gelu",
        layer_scale=1.0,
        pool="class-mean",
        position_resize="bicubic",
    )
    theirs = transformers.Dinov2ForImageClassification(
        transformers.Dinov2Config(**sizes, mlp_ratio=4, use_swiglu_ffn=gated)
    )
    names = DINOV2 | (layers("encoder.layer", ("norm1", "norm2"), GATED_FEED_FORWARD) if gated else {})
    load(theirs, state_of(model, in_task(names, "dinov2")))
    assert_same_outputs(model(images(height, width)), theirs(images(height, width)).logits)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_dinov2_with_registers(height: int, width: int) -> None:
    """Its registers have no positions, and its class token has one."""
    sizes = {name: size for name, size in SIZES.items() if name != "intermediate_size"}
    model = ours(
        hidden_dimension=128,
        layer_scale=1.0,
        pool="class-mean",
        number_of_register_tokens=4,
        prefix_positions="class",
    )
    theirs = transformers.Dinov2WithRegistersForImageClassification(
        transformers.Dinov2WithRegistersConfig(**sizes, mlp_ratio=4, num_register_tokens=4)
    )
    load(theirs, state_of(model, in_task(DINOV2, "dinov2_with_registers")))
    assert_same_outputs(model(images(height, width)), theirs(images(height, width)).logits)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 48)])
def test_dinov3(height: int, width: int) -> None:
    model = ours(
        number_of_classes=0,
        positions="rotary",
        activation="swiglu",
        number_of_register_tokens=4,
        layer_scale=1.0,
        normalization_epsilon=1e-5,
        query_bias=False,
        key_bias=False,
        value_bias=False,
    )
    theirs = transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            **SIZES,
            num_register_tokens=4,
            use_gated_mlp=True,
            hidden_act="silu",
            query_bias=False,
            value_bias=False,
        )
    )
    load(theirs, state_of(model, DINOV3))
    tokens, pooled = model.features(images(height, width))
    outputs = theirs(images(height, width))
    assert_same_outputs(tokens, outputs.last_hidden_state)
    assert_same_outputs(pooled, outputs.pooler_output)


def test_siglip() -> None:
    model = ours(number_of_classes=0, class_token=False, pool="attention", activation="gelu-tanh")
    state = state_of(model, SIGLIP)
    for kind in ("weight", "bias"):
        parts = [state.pop(f"head.attention.{part}.{kind}") for part in ("query", "key_value")]
        state[f"head.attention.in_proj_{kind}"] = torch.cat(parts)
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    theirs = load(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)), state)
    outputs = theirs(images())
    assert_same_outputs(model.features(images())[0], outputs.last_hidden_state)
    assert_same_outputs(model(images()), outputs.pooler_output)


def test_clip() -> None:
    model = ours(
        number_of_classes=0,
        normalization_before_blocks=True,
        patch_bias=False,
        activation="quick-gelu",
        normalization_epsilon=1e-5,
        final_normalization="after-pool",
    )
    names = CLIP | {r"head\.normalization\.(\w+)": r"post_layernorm.\1"}
    state = state_of(model, names)
    state["embeddings.class_embedding"] = state["embeddings.class_embedding"].flatten()
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    theirs = load(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SIZES)), state)
    outputs = theirs(images())
    assert_same_outputs(model.features(images())[0], outputs.last_hidden_state)
    assert_same_outputs(model(images()), outputs.pooler_output)


def test_mae() -> None:
    """Its positions are the sine-cosine table, which our model computes and theirs stores."""
    model = ours(number_of_classes=0, positions="sine-cosine-mae")
    configuration = transformers.ViTMAEConfig(**SIZES, layer_norm_eps=1e-6, mask_ratio=0.0)
    theirs = transformers.ViTMAEModel(configuration)
    # version 5.23 takes the embeddings for initialised once its convolution is, and leaves the table at zero
    theirs.embeddings.patch_embeddings.projection._is_hf_initialized = False
    theirs.embeddings.initialize_weights()
    assert theirs.embeddings.position_embeddings.any()
    state = state_of(model, VIT)
    state["embeddings.position_embeddings"] = theirs.embeddings.position_embeddings
    load(theirs, state)
    in_order = torch.arange(16.0).expand(3, -1)
    outputs = theirs(images(), noise=in_order)
    assert_same_outputs(model.features(images())[0], outputs.last_hidden_state)
