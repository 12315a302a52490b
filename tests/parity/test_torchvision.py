"""torchvision computes the same from the same weights, so its checkpoints can be read and written."""

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise, renamed

from vision_transformers.model.vit import ViT

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")

# the published checkpoints' names: in memory its `linear_1` and `linear_2` are `0` and `3`
NAMES = {
    r"patches\.projector\.(\w+)": r"conv_proj.\1",
    r"prefix_tokens\.class_token\.tokens": "class_token",
    r"positions\.position_embeddings": "encoder.pos_embedding",
    r"transformer\.normalization\.(\w+)": r"encoder.ln.\1",
    r"head\.pre_logits\.0\.(\w+)": r"heads.pre_logits.\1",
    r"head\.classifier\.(\w+)": r"heads.head.\1",
}
LAYER_NAMES = {
    r"attention_normalization\.": "ln_1.",
    r"attention\.query_key_value\.": "self_attention.in_proj_",
    r"attention\.projection\.": "self_attention.out_proj.",
    r"feed_forward_normalization\.": "ln_2.",
    r"feed_forward\.input_layer\.": "mlp.linear_1.",
    r"feed_forward\.output_layer\.": "mlp.linear_2.",
}
NAMES |= {
    rf"transformer\.layers\.(\d+)\.{old}(\w+)": rf"encoder.layers.encoder_layer_\1.{new}\2"
    for old, new in LAYER_NAMES.items()
}


@pytest.mark.parametrize("representation", [None, 12])
def test_vision_transformer(representation: int | None) -> None:
    model = randomise(
        ViT(
            (8, 8),
            32,
            2,
            4,
            48,
            3,
            5,
            (32, 32),
            patch_extractor="convolutional",
            pre_logits_dimension=representation,
        )
    )
    theirs = torchvision.models.VisionTransformer(
        32, 8, 2, 4, 32, 48, num_classes=5, representation_size=representation
    ).eval()
    theirs.load_state_dict(renamed(model.state_dict(), NAMES))
    image = torch.randn(3, 3, 32, 32)
    assert_same_outputs(model(image), theirs(image))
