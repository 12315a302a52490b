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
    r"transformer\.layers\.(\d+)\.attention_normalization\.(\w+)": r"encoder.layers.encoder_layer_\1.ln_1.\2",
    r"transformer\.layers\.(\d+)\.attention\.query_key_value\.(\w+)": (
        r"encoder.layers.encoder_layer_\1.self_attention.in_proj_\2"
    ),
    r"transformer\.layers\.(\d+)\.attention\.projection\.(\w+)": (
        r"encoder.layers.encoder_layer_\1.self_attention.out_proj.\2"
    ),
    r"transformer\.layers\.(\d+)\.feed_forward_normalization\.(\w+)": (
        r"encoder.layers.encoder_layer_\1.ln_2.\2"
    ),
    r"transformer\.layers\.(\d+)\.feed_forward\.input_layer\.(\w+)": r"encoder.layers.encoder_layer_\1.mlp.linear_1.\2",
    r"transformer\.layers\.(\d+)\.feed_forward\.output_layer\.(\w+)": r"encoder.layers.encoder_layer_\1.mlp.linear_2.\2",
    r"transformer\.normalization\.(\w+)": r"encoder.ln.\1",
    r"head\.pre_logits\.0\.(\w+)": r"heads.pre_logits.\1",
    r"head\.classifier\.(\w+)": r"heads.head.\1",
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
