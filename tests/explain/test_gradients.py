"""Explanations by gradients: their own equations, and other people's implementations as judges."""

from typing import Any

import pytest
import torch
from tests.explain.models import CLASSES, GRID, IMAGES, OPTIONS, random_model
from torch import Tensor, nn

from vision_transformers.explain.attention_lrp import attention_lrp, conservative
from vision_transformers.explain.integrated_gradients import integrated_gradients
from vision_transformers.explain.methods import Explain
from vision_transformers.explain.occlusion import occlusion
from vision_transformers.explain.relevance import relevance
from vision_transformers.explain.tokens import embed, logits_of, reading
from vision_transformers.model.vit import ViT


def chosen(logits: Tensor) -> Tensor:
    return logits.gather(1, CLASSES[:, None])[:, 0]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_integrated_gradients_sum_to_the_difference_of_logits(options: dict[str, Any]) -> None:
    model = random_model(options)
    baseline = 0.5 * IMAGES.flip(0)
    maps = integrated_gradients(model, IMAGES, CLASSES, baseline, steps=64)
    assert maps.shape == (3, *GRID)
    difference = chosen(model(IMAGES)) - chosen(model(baseline))
    torch.testing.assert_close(maps.sum(dim=(1, 2)), difference.detach(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_integrated_gradients_are_captums(options: dict[str, Any]) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model = random_model(options)
    baseline = torch.zeros_like(IMAGES)
    theirs = captum.IntegratedGradients(model).attribute(
        IMAGES, baseline, target=CLASSES, n_steps=32, method="gausslegendre"
    )
    expected = theirs.sum(1).unfold(1, 4, 4).unfold(2, 4, 4).sum((3, 4))
    found = integrated_gradients(model, IMAGES, CLASSES, baseline, steps=32)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_integrated_gradients_begin_at_the_mean_colour_of_each_image_unless_told_otherwise() -> None:
    model = random_model({})
    baseline = IMAGES.mean(dim=(2, 3), keepdim=True).expand_as(IMAGES)
    expected = integrated_gradients(model, IMAGES, CLASSES, baseline, steps=4)
    torch.testing.assert_close(integrated_gradients(model, IMAGES, CLASSES, steps=4), expected)


BY_GRADIENTS = [attention_lrp, relevance, integrated_gradients]


@pytest.mark.parametrize("method", BY_GRADIENTS, ids=lambda method: method.__name__)
def test_in_inference_mode_the_maps_are_the_same(method: Explain) -> None:
    """In which programs compute all they can, and no gradients are computed."""
    model = random_model({})
    expected = method(model, IMAGES, CLASSES)
    with torch.inference_mode():
        found = method(model, IMAGES + 0, CLASSES + 0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "classes", [torch.tensor([0, 1, 99]), torch.tensor([0, -1, 1])], ids=["more", "less"]
)
@pytest.mark.parametrize("method", [*BY_GRADIENTS, occlusion], ids=lambda method: method.__name__)
def test_a_class_that_there_is_none_of_is_told(method: Explain, classes: Tensor) -> None:
    """On a GPU, all that follows would fail."""
    with pytest.raises(ValueError, match=r"classes are \[0, .*\]: expected 0 to"):
        method(random_model({}), IMAGES, classes)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_relevance_is_its_equations_written_out(options: dict[str, Any]) -> None:
    model = random_model(options)
    sequence, attention = model.encode(IMAGES, need_weights=True)
    weights = [each for each in attention if each is not None]
    gradients = torch.autograd.grad(chosen(model.head(sequence)).sum(), weights)
    with torch.no_grad():
        rows = reading(model, sequence)
    found = relevance(model, IMAGES, CLASSES)
    assert (found >= 0).all()
    for image in range(len(IMAGES)):
        matrix = torch.eye(sequence.shape[1])
        for weight, gradient in zip(weights, gradients, strict=True):
            mixed = (weight[image] * gradient[image]).clamp(min=0).mean(0).detach()
            matrix = matrix + mixed @ matrix
        expected = (rows[image] @ matrix)[model.number_of_prefix_tokens :]
        torch.testing.assert_close(found[image].flatten(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_the_rules_of_lrp_change_no_output_and_go_when_it_ends(options: dict[str, Any]) -> None:
    model = random_model(options)
    expected = model(IMAGES)
    plain = torch.autograd.grad(chosen(expected).sum(), model.patches.projector.weight)[0]
    with conservative(model):
        found = model(IMAGES)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        ruled = torch.autograd.grad(chosen(found).sum(), model.patches.projector.weight)[0]
        whole = model.head(model.encode(IMAGES)[0])  # not only the tokens that the head reads
        as_ruled = torch.autograd.grad(chosen(whole).sum(), model.patches.projector.weight)[0]
    assert not torch.allclose(ruled, plain)
    torch.testing.assert_close(as_ruled, ruled, rtol=1e-3, atol=1e-4)
    again = torch.autograd.grad(chosen(model(IMAGES)).sum(), model.patches.projector.weight)[0]
    assert torch.equal(again, plain)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_lrp_shares_a_logit_out_without_loss(options: dict[str, Any]) -> None:
    """Among tokens and biases; without biases, among tokens alone."""
    model = random_model(options)
    with conservative(model):
        tokens = embed(model, IMAGES)
        sequence = tokens.sequence.detach().requires_grad_()
        logits = chosen(logits_of(model, tokens.__class__(sequence, *_rest(tokens))))
        biases = _biases(model)
        gradients = torch.autograd.grad(logits.sum(), [sequence, *biases], allow_unused=True)
    of_tokens = (gradients[0] * sequence).sum()
    of_biases = sum(
        (gradient * bias).sum()
        for gradient, bias in zip(gradients[1:], biases, strict=True)
        if gradient is not None
    )
    torch.testing.assert_close(of_tokens + of_biases, logits.sum(), rtol=1e-3, atol=1e-3)


def test_lrp_without_biases_or_prefix_tokens_sums_to_the_logit() -> None:
    model = random_model({"pool": "mean", "class_token": False})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    maps = attention_lrp(model, IMAGES, CLASSES)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), chosen(model(IMAGES)).detach(), rtol=1e-3, atol=1e-3)


def test_a_unit_that_is_silent_does_not_spoil_a_map_by_lrp() -> None:
    """Its share would be 0 / 0."""
    model = random_model({})
    for layer in model.transformer.layers:
        for parameter in layer.feed_forward.parameters():
            parameter.data[0] = 0
    assert attention_lrp(model, IMAGES, CLASSES).isfinite().all()


@pytest.mark.parametrize("method", [relevance, attention_lrp, integrated_gradients])
def test_another_class_has_another_map_and_images_do_not_mix(method: Any) -> None:
    model = random_model({})
    maps = method(model, IMAGES, CLASSES)
    assert not torch.allclose(maps, method(model, IMAGES, (CLASSES + 1) % 5))
    torch.testing.assert_close(method(model, IMAGES[1:2], CLASSES[1:2])[0], maps[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [relevance, attention_lrp, integrated_gradients])
def test_a_frozen_model_in_training_mode_is_explained_without_a_trace(method: Any) -> None:
    model = random_model({}).requires_grad_(False).train()
    with torch.no_grad():
        maps = method(model, IMAGES, CLASSES)
    assert model.training
    assert not maps.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def _rest(tokens: Any) -> tuple[Any, ...]:
    return tokens.rotation, tokens.grid, tokens.number_of_prefix_tokens


def _biases(model: ViT) -> list[nn.Parameter]:
    """What adds something that is no part of a token: biases, and a pool's own query through its layer."""
    parts = (model.transformer, model.head)
    return [
        parameter for part in parts for name, parameter in part.named_parameters() if name.endswith("bias")
    ]
