"""The table at the top of initialization.py, measured on a fresh model."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

CUT_NORMAL = 0.87962566  # standard deviation of a normal distribution that is cut at 2 of its own


def fresh(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return ViT((8, 8), 128, 2, 4, 512, 3, 300, (64, 64), **options)


def measured(parameter: Tensor) -> Any:
    """Within 5 standard errors, for the number of values that there are."""
    return pytest.approx(parameter.std().item(), rel=5 / (2 * parameter.numel()) ** 0.5)


def test_tokens_and_positions():
    """Standard normal positions, as a naive `torch.randn` gives, drown the patches."""
    model = fresh(number_of_register_tokens=16)
    for parameter in (model.positions.position_embeddings, model.prefix_tokens.registers.tokens):
        assert measured(parameter) == 0.02 * CUT_NORMAL
        assert parameter.abs().max() <= 0.04
    assert model.prefix_tokens.class_token.tokens.abs().max() <= 0.04


@pytest.mark.parametrize("extractor", ["linear", "convolutional"])
def test_the_projection_of_patches_keeps_the_variance_of_pixels(extractor):
    weight = fresh(patch_extractor=extractor).patches.projector.weight
    assert measured(weight) == CUT_NORMAL * (8 * 8 * 3) ** -0.5


def test_a_stem_keeps_the_variance_of_what_its_activations_let_through():
    stem = fresh(patch_extractor="stem").patches
    convolutions = [layer for layer in stem.modules() if isinstance(layer, nn.Conv2d)]
    inputs = [layer.weight[0].numel() for layer in convolutions]
    assert inputs == [3 * 16, 32 * 9, 32 * 16, 64 * 9, 64 * 16, 128 * 9]
    for layer, number in zip(convolutions, inputs, strict=True):
        assert measured(layer.weight) == (2 / number) ** 0.5


def test_queries_keys_and_values_are_drawn_as_matrices_of_their_own():
    """Drawn as one matrix of three times the rows, each would begin too small by a factor of sqrt(2)."""
    for part in fresh().transformer.layers[0].attention.query_key_value.weight.chunk(3):
        assert measured(part) == (2 / (128 + 128)) ** 0.5
        assert part.abs().max() <= (6 / (128 + 128)) ** 0.5


@pytest.mark.parametrize("biases", [{"key_bias": False}, {"query_bias": False, "value_bias": False}])
def test_part_of_the_biases_changes_nothing_for_the_weights(biases):
    layer = fresh(**biases).transformer.layers[0].attention.query_key_value
    assert measured(layer.weight) == (2 / (128 + 128)) ** 0.5
    assert not layer.bias.any()


def test_linear_layers_of_the_blocks():
    block = fresh().transformer.layers[1]
    assert measured(block.attention.projection.weight) == (2 / (128 + 128)) ** 0.5
    assert measured(block.feed_forward.input_layer.weight) == (2 / (128 + 512)) ** 0.5
    assert measured(block.feed_forward.output_layer.weight) == (2 / (128 + 512)) ** 0.5


def test_gate_and_up_are_drawn_as_matrices_of_their_own():
    network = fresh(activation="swiglu").transformer.layers[0].feed_forward
    for part in network.gate_up_layer.weight.chunk(2):
        assert measured(part) == (2 / (128 + 512)) ** 0.5


def test_the_attention_pool():
    pool = fresh(pool="attention").head.pool
    assert pool.probe.abs().max() <= 2 * 128**-0.5
    assert measured(pool.query.weight) == (2 / (128 + 128)) ** 0.5
    for part in pool.key_value.weight.chunk(2):
        assert measured(part) == (2 / (128 + 128)) ** 0.5


def test_biases_are_zero_norms_are_the_identity_and_scales_are_as_asked():
    model = fresh(layer_scale=1e-4, query_key_normalization=True, pre_logits_dimension=16)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith("scale"):
            assert torch.equal(parameter, torch.full_like(parameter, 1e-4)), name
        elif parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name


def test_the_classifier_begins_small():
    """So that a fresh model prefers no class, and the first loss is the logarithm of their number."""
    model = fresh()
    assert measured(model.head.classifier.weight) == 0.02 * CUT_NORMAL
    logits = model(torch.randn(16, 3, 64, 64))
    assert logits.abs().max() < 1.5
    loss = nn.functional.cross_entropy(logits, torch.arange(16))
    assert loss.item() == pytest.approx(torch.tensor(300.0).log().item(), abs=0.2)
