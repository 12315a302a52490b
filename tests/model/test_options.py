"""What holds for the model with any options: each set is the paper's model with these changes."""

from typing import Any

import pytest
import torch
from tests.parity.weights import randomise
from torch import Tensor, nn

from vision_transformers.model.vit import ViT

NO_BIASES: dict[str, Any] = {
    "patch_bias": False,
    "query_bias": False,
    "key_bias": False,
    "value_bias": False,
    "attention_projection_bias": False,
}
CLIP: dict[str, Any] = {
    "normalization_before_blocks": True,
    "patch_bias": False,
    "activation": "quick-gelu",
    "normalization_epsilon": 1e-5,
}
DINOV3: dict[str, Any] = {
    "positions": "rotary",
    "number_of_register_tokens": 4,
    "layer_scale": 1e-5,
    "key_bias": False,
    "activation": "swiglu",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "convolutional": {"patch_extractor": "convolutional"},
    "stem": {"patch_extractor": "stem"},
    "patch norms": {"patch_normalization": True},
    "registers": {"number_of_register_tokens": 3},
    "registers without positions": {"number_of_register_tokens": 3, "prefix_positions": "class"},
    "prefix without positions": {"number_of_register_tokens": 3, "prefix_positions": "none"},
    "distillation": {"distillation_token": True},
    "distillation after-pool norm": {"distillation_token": True, "final_normalization": "after-pool"},
    "sine-cosine": {"positions": "sine-cosine"},
    "sine-cosine-mae": {"positions": "sine-cosine-mae"},
    "rotary": {"positions": "rotary"},
    "no positions": {"positions": "none"},
    "norm before blocks": {"normalization_before_blocks": True},
    "tanh GELU": {"activation": "gelu-tanh"},
    "quick GELU": {"activation": "quick-gelu"},
    "SwiGLU": {"activation": "swiglu"},
    "no biases": NO_BIASES,
    "key bias only": {"query_bias": False, "value_bias": False},
    "no key bias": {"key_bias": False},
    "wide attention": {"attention_dimension": 24},
    "no projection": {"attention_projection": False},
    "query and key norms": {"query_key_normalization": True},
    "layer scale": {"layer_scale": 1e-5},
    "stochastic depth": {"stochastic_depth": 0.3},
    "dropout": {"dropout": 0.3},
    "mean": {"pool": "mean"},
    "mean of all, norm after": {"pool": "mean-all", "final_normalization": "after-pool"},
    "mean without class token": {"pool": "mean", "class_token": False, "number_of_register_tokens": 1},
    "class and mean": {"pool": "class-mean", "final_normalization": "after-pool"},
    "attention pool": {"pool": "attention", "class_token": False, "activation": "gelu-tanh"},
    "attention pool SwiGLU": {"pool": "attention", "activation": "swiglu", "dropout": 0.2},
    "pre-logits": {"pre_logits_dimension": 12},
    "no classes": {"number_of_classes": 0},
    "CLIP": CLIP,
    "DINOv3": DINOV3,
    "all that fit": DINOV3
    | CLIP
    | {
        "patch_normalization": True,
        "query_key_normalization": True,
        "attention_dimension": 40,
        "stochastic_depth": 0.2,
        "dropout": 0.1,
        "pool": "class-mean",
        "final_normalization": "after-pool",
        "pre_logits_dimension": 12,
    },
}
with_every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


def model_with(options: dict[str, Any]) -> nn.Module:
    sizes: dict[str, Any] = {"number_of_classes": 5, "max_image_shape": (12, 20)}
    return randomise(ViT((4, 4), 16, 3, 2, 24, 3, **sizes | options))


def images() -> Tensor:
    return torch.randn(4, 3, 12, 20, generator=torch.Generator().manual_seed(1))


@with_every_option
def test_fused_and_explicit_attention_give_the_same_logits(options):
    """Else what `vit explain` shows would belong to another model than the one that predicts."""
    model = model_with(options)
    logits = model(images())
    explained, _ = model(images(), need_weights=True)
    largest = logits.abs().max().item()
    assert largest > 1
    torch.testing.assert_close(explained, logits, rtol=0, atol=1e-5 * largest)


@with_every_option
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_attention_weights_are_a_distribution_for_each_query(options, training):
    """In training too: the weights returned are those before dropout, so that their rows sum to 1."""
    model = model_with(options).train(training)
    _, weights = model(images(), need_weights=True)
    tokens = model.number_of_prefix_tokens + 15
    assert [layer.shape for layer in weights] == [(4, 2, tokens, tokens)] * 3
    for layer in weights:
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(4, 2, tokens))


def without_effect(options: dict[str, Any]) -> set[str]:
    """Parameters that shift the scores of a query by the same number for every key: softmax removes them."""
    names = set()
    if options.get("query_key_normalization") and options.get("positions") != "rotary":
        names.add("attention.key_normalization.bias")
    if options.get("query_bias") is False and options.get("value_bias") is False:
        names.add("attention.query_key_value.bias")
    return names


@with_every_option
@pytest.mark.parametrize("need_weights", [False, True], ids=["fused", "explicit"])
def test_every_parameter_learns(options, need_weights):
    """A parameter without a gradient is one that the options forgot to use."""
    model = model_with(options)
    output = model(images(), need_weights=need_weights)
    (output[0] if need_weights else output).square().sum().backward()
    excepted = without_effect(options)
    idle = {
        name
        for name, parameter in model.named_parameters()
        if (parameter.grad is None or parameter.grad.abs().max() < 1e-4)
        and not any(name.endswith(ending) for ending in excepted)
    }
    assert not idle


@with_every_option
def test_features_are_what_the_head_reads(options):
    """Else embeddings made with the model would not be those that it classifies."""
    model = model_with(options)
    logits = model(images())
    tokens, pooled = model.features(images())
    assert tokens.shape == (4, model.number_of_prefix_tokens + 15, 16)
    torch.testing.assert_close(model.head(tokens), logits)
    torch.testing.assert_close(model.head.pooled(tokens), pooled)
    assert pooled.shape == (4, model.config.pooled_dimension)
    torch.testing.assert_close(model.head.logits(pooled), logits)
    together = model.logits_and_features(images())
    assert torch.equal(together[0], logits)
    torch.testing.assert_close(together[1], pooled)


@with_every_option
def test_other_sizes_are_accepted(options):
    """Every option works for a grid that the positions were not made for."""
    model = model_with(options)
    for height, width in ((8, 8), (24, 16)):
        outputs = model(torch.randn(2, 3, height, width))
        assert outputs.isfinite().all()


@with_every_option
def test_an_image_does_not_depend_on_its_batch(options):
    model = model_with(options)
    torch.testing.assert_close(model(images())[2:3], model(images()[2:3]), rtol=1e-4, atol=1e-5)


@with_every_option
def test_no_hooks_anywhere(options):
    """Hooks stop torch.export, and stay behind when an explanation fails half-way."""
    model = model_with(options)
    model(images(), need_weights=True)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module._backward_pre_hooks


@with_every_option
def test_a_config_describes_the_whole_model(options):
    """Its state loads strictly into a model made from its config: a model folder stores nothing else."""
    model = model_with(options)
    again = ViT.from_config(model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images()), model(images()))


@with_every_option
def test_it_builds_on_the_meta_device(options):
    """Else to load a large model would allocate and draw its parameters twice."""
    sizes: dict[str, Any] = {"number_of_classes": 5, "max_image_shape": (12, 20)}
    with torch.device("meta"):
        model = ViT((4, 4), 16, 3, 2, 24, 3, **sizes | options)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_dropout_acts_in_training_only():
    model = model_with({"dropout": 0.5})
    assert torch.equal(model(images()), model(images()))
    model.train()
    assert not torch.equal(model(images()), model(images()))


def test_stochastic_depth_grows_from_layer_to_layer():
    """The first encoder is never skipped, the last at the rate that is asked for."""
    model = model_with({"stochastic_depth": 0.3})
    rates = [getattr(layer.stochastic_depth, "rate", 0.0) for layer in model.transformer.layers]
    assert rates == pytest.approx([0.0, 0.15, 0.3])
