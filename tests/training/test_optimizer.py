"""Each parameter is changed by the optimizer, and decayed, as the recipe says."""

from dataclasses import replace

import pytest
import torch
from tests.training.recipes import tiny

from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.training.optimizer import Optimizers
from vision_transformers.training.recipe import Optimizer

CONFIG = ViTConfig(
    patch_shape=(4, 4),
    model_dimension=16,
    number_of_layers=2,
    number_of_heads=2,
    hidden_dimension=24,
    number_of_channels=1,
    number_of_classes=10,
    max_image_shape=(8, 8),
    number_of_register_tokens=2,
    layer_scale=0.1,
    query_key_normalization=True,
    activation="swiglu",
)


def groups(optimizers: Optimizers) -> list[tuple[str, float, set[str]]]:
    """Class, weight decay and parameters of each group."""
    return [
        (
            type(part).__name__,
            group["weight_decay"],
            {optimizers.names[parameter] for parameter in group["params"]},
        )
        for part in optimizers.parts
        for group in part.param_groups
    ]


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("config", [CONFIG, tiny().model], ids=["all parts", "plain"])
def test_every_parameter_is_in_one_group(name: str, config: ViTConfig) -> None:
    model = ViT.from_config(config)
    optimizers = Optimizers(model, Optimizer(name=name))  # type: ignore[arg-type]
    names = [name for _, _, group in groups(optimizers) for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_norms_biases_tokens_positions_and_scales_do_not_decay() -> None:
    model = ViT.from_config(CONFIG)
    decayed, others = (names for _, _, names in groups(Optimizers(model, Optimizer(weight_decay=0.3))))
    parameters = dict(model.named_parameters())
    assert all(parameters[name].dim() >= 2 and name.endswith("weight") for name in decayed)
    for name in others:
        words = ("norm", "bias", "token", "position", "scale")
        assert any(word in name for word in words), name
    assert any("token" in name for name in others)
    assert any("position" in name for name in others)


def test_the_kernel_of_a_convolution_decays() -> None:
    model = ViT.from_config(replace(CONFIG, patch_extractor="convolutional"))
    decayed, _ = (names for _, _, names in groups(Optimizers(model, Optimizer(weight_decay=0.3))))
    assert "patches.projector.weight" in decayed


def test_the_averages_of_the_optimizers_are_as_long_as_the_recipe_says() -> None:
    config = Optimizer(name="muon", betas=(0.7, 0.8), muon_momentum=0.6)
    adamw, muon = Optimizers(ViT.from_config(CONFIG), config).parts
    assert {group["betas"] for group in adamw.param_groups} == {(0.7, 0.8)}
    assert {group["momentum"] for group in muon.param_groups} == {0.6}


def test_muon_has_exactly_the_matrices_of_the_blocks() -> None:
    model = ViT.from_config(CONFIG)
    (*_, (kind, decay, names)) = groups(
        Optimizers(model, Optimizer(name="muon", muon_weight_decay=0.2, weight_decay=0.3))
    )
    matrices = {
        name
        for name, parameter in model.transformer.layers.named_parameters(prefix="transformer.layers")
        if parameter.dim() == 2
    }
    assert (kind, decay) == ("Muon", 0.2)
    assert names == matrices
    assert len(names) >= 2 * 4


def test_what_does_not_decay_stays_where_it_has_no_gradient() -> None:
    """Decay alone moves weights: two equal models, one without gradients."""
    model = ViT.from_config(CONFIG)
    optimizers = Optimizers(model, Optimizer(weight_decay=0.5, learning_rate=0.1))
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step(0.5)
    decayed = groups(optimizers)[0][2]
    for name, value in model.named_parameters():
        factor = 1 - 0.1 * 0.5 * 0.5 if name in decayed else 1
        torch.testing.assert_close(value, before[name] * factor)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_rate_is_a_part_of_each_peak(name: str) -> None:
    model = ViT.from_config(CONFIG)
    config = Optimizer(name=name, learning_rate=0.01, muon_learning_rate=0.5)  # type: ignore[arg-type]
    optimizers = Optimizers(model, config)
    optimizers.step(0.25)
    rates = [group["lr"] for part in optimizers.parts for group in part.param_groups]
    assert rates == [0.0025, 0.0025] + ([0.125] if name == "muon" else [])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_state_is_taken_back_bit_for_bit(name: str) -> None:
    """Two models that take the same step from a saved state end equal."""
    first, second = ViT.from_config(CONFIG), ViT.from_config(CONFIG)
    config = Optimizer(name=name)  # type: ignore[arg-type]
    optimizers = Optimizers(first, config)

    def step(model: ViT, through: Optimizers, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        through.step(1.0)

    step(first, optimizers, 0)
    step(first, optimizers, 1)
    second.load_state_dict(first.state_dict())
    restored = Optimizers(second, config)
    restored.load_state({key: value.clone() for key, value in optimizers.state().items()})
    assert restored.state().keys() == optimizers.state().keys()
    step(first, optimizers, 2)
    step(second, restored, 2)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_state_that_was_given_is_not_changed_by_later_steps() -> None:
    """It may lie in the file that a run goes on from."""
    model = ViT.from_config(CONFIG)
    optimizers = Optimizers(model, Optimizer())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(1.0)
    given = {name: value.clone() for name, value in optimizers.state().items()}
    before = {name: value.clone() for name, value in given.items()}
    optimizers.load_state(given)
    optimizers.step(1.0)
    assert all(torch.equal(before[name], value) for name, value in given.items())
