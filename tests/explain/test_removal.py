"""Taking patches out: nothing else changes, and the curves are what a person would count by hand."""

from itertools import cycle
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from tests.explain.models import CLASSES, GRID, IMAGES, OPTIONS, random_model

from vision_transformers.explain.attention_lrp import attention_lrp
from vision_transformers.explain.faithfulness import faithfulness
from vision_transformers.explain.occlusion import occlusion
from vision_transformers.explain.removal import judge_of, painted
from vision_transformers.explain.sanity import randomised_from_the_top
from vision_transformers.explain.tokens import embed, logits_of
from vision_transformers.model.vit import ViT


def probability(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(dim=1).gather(1, CLASSES[:, None])[:, 0]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("removal", ["drop", "mean", "blur"])
def test_occlusion_is_the_fall_of_the_log_probability(options: dict[str, Any], removal: Any) -> None:
    model = random_model(options)
    found = occlusion(model, IMAGES, CLASSES, removal)
    assert found.shape == (3, *GRID)
    kept = torch.tensor([0, 1, 2, 3, 5]).expand(3, -1)
    if removal == "drop":
        logits = logits_of(model, embed(model, IMAGES).keeping(kept))
    else:
        painting = IMAGES.clone()
        painting[:, :, 4:8, 4:8] = painted(IMAGES, (4, 4), removal)[:, :, 4:8, 4:8]
        logits = model(painting)
    expected = probability(model(IMAGES)).log() - probability(logits).log()
    torch.testing.assert_close(found[:, 1, 1], expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_patch_has_the_mean_of_the_windows_that_it_was_in() -> None:
    model = random_model({})
    found = occlusion(model, IMAGES, CLASSES, window=2)
    left, right = found[:, 0, 0], found[:, 0, 2]
    torch.testing.assert_close(found[:, 1, 1], (left + right) / 2)
    for window in (0, 3):
        with pytest.raises(ValueError, match="window is"):
            occlusion(model, IMAGES, CLASSES, window=window)


@pytest.mark.parametrize("removal", ["drop", "mean", "blur"])
def test_curves_are_what_is_left_in_the_maps_order(removal: Any) -> None:
    model = random_model({})
    maps = torch.tensor([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]]).expand(3, 2, 3)
    result = faithfulness(model, IMAGES, maps, CLASSES, removal, steps=6)
    judge = judge_of(model, IMAGES, removal)
    order = torch.tensor([3, 4, 5, 0, 2, 1])
    whole = probability(model(IMAGES))
    torch.testing.assert_close(result.deletion[:, 0], whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.insertion[:, -1], whole, rtol=1e-4, atol=1e-6)
    for gone in (1, 3, 5):
        left = probability(judge(order[gone:].expand(3, -1)))
        torch.testing.assert_close(result.deletion[:, gone], left, rtol=1e-4, atol=1e-6)
        there = probability(judge(order[:gone].expand(3, -1)))
        torch.testing.assert_close(result.insertion[:, gone], there, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.fractions, torch.arange(7) / 6)


def test_curves_of_patches_that_cannot_be_halved_have_their_values_where_they_are_drawn() -> None:
    """Turned round, the middle of a deletion would be one patch off."""
    model, images = random_model({}), IMAGES[:, :, :4]
    result = faithfulness(model, images, torch.tensor([[[3.0, 2.0, 1.0]]] * 3), CLASSES, steps=2)
    judge = judge_of(model, images, "drop")
    for fraction, deletion, insertion in zip(
        result.fractions.tolist(), result.deletion.unbind(1), result.insertion.unbind(1), strict=True
    ):
        changed = round(fraction * 3)
        for curve, kept in ((deletion, range(changed, 3)), (insertion, range(changed))):
            if kept:
                left = probability(judge(torch.tensor(kept).expand(3, -1)))
                torch.testing.assert_close(curve, left, rtol=1e-4, atol=1e-6)


def test_the_temperature_divides_the_logits_of_curves() -> None:
    model, maps = random_model({}), torch.rand(3, *GRID)
    curves = faithfulness(model, IMAGES, maps, CLASSES, orders=1, temperature=4.0)
    torch.testing.assert_close(curves.insertion[:, -1], probability(model(IMAGES) / 4).detach())


def test_an_image_that_is_painted_over_shows_nothing() -> None:
    """Only where tokens are left out does one stay."""
    model, maps = random_model({}), torch.rand(3, *GRID)
    curves = faithfulness(model, IMAGES, maps, CLASSES, "mean", orders=1)
    nothing = probability(model(painted(IMAGES, (4, 4), "mean"))).detach()
    torch.testing.assert_close(curves.insertion[:, 0], nothing)
    torch.testing.assert_close(curves.deletion[:, -1], nothing)


def test_dropout_does_not_reach_curves() -> None:
    model, maps = random_model({"dropout": 0.5}), torch.rand(3, *GRID)
    expected = faithfulness(model.eval(), IMAGES, maps, CLASSES, orders=1)
    found = faithfulness(model.train(), IMAGES, maps, CLASSES, orders=1)
    torch.testing.assert_close(found.insertion, expected.insertion)


def test_paint_is_the_mean_colour_or_a_blur_as_wide_as_a_patch() -> None:
    images = IMAGES + torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    torch.testing.assert_close(painted(images, (4, 4), "mean")[:, :, 3, 5], images.mean(dim=(2, 3)))
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1.0
    blurred = painted(point, (4, 4), "blur")[0, 0]
    away = (torch.arange(41) - 20.0)[:, None]
    variance = float((blurred * away.square()).sum() / blurred.sum())
    assert variance == pytest.approx(9.8, rel=0.1)  # 4 squared, of a bell that is cut off at 5 pixels


def test_paint_covers_patches_that_are_not_square() -> None:
    model = random_model({}, patch_shape=(4, 2))
    changed = IMAGES.clone()
    changed[:, :, 4:8, 2:4] = painted(IMAGES, (4, 2), "mean")[:, :, 4:8, 2:4]
    kept = torch.tensor([[patch for patch in range(12) if patch != 7]]).expand(3, -1)
    torch.testing.assert_close(judge_of(model, IMAGES, "mean")(kept), model(changed))


def test_the_advantage_is_insertion_less_deletion() -> None:
    curves = faithfulness(random_model({}), IMAGES, torch.rand(3, *GRID), CLASSES, orders=1)
    expected = torch.trapezoid(curves.insertion - curves.deletion, curves.fractions)
    torch.testing.assert_close(curves.advantage(), expected)


def test_a_random_order_has_no_advantage_and_the_best_one_has() -> None:
    model = random_model({})
    images = torch.randn(200, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    classes = model(images).argmax(dim=1)
    random = faithfulness(model, images, torch.rand(200, *GRID), classes, orders=16).advantage()
    assert abs(float(random.mean())) < 3 * float(random.std()) / 200**0.5
    occluded = faithfulness(model, images, occlusion(model, images, classes), classes).advantage()
    assert float(occluded.mean()) > 5 * float(occluded.std()) / 200**0.5


def test_random_orders_are_those_of_the_seed() -> None:
    model, maps = random_model({}), torch.rand(3, *GRID)
    curves = [faithfulness(model, IMAGES, maps, CLASSES, seed=seed).random_deletion for seed in (0, 0, 1)]
    assert torch.equal(curves[0], curves[1])
    assert not torch.equal(curves[0], curves[2])


def test_maps_of_another_grid_are_told() -> None:
    with pytest.raises(ValueError, match=r"maps are \(3, 3, 2\): expected \(3, 2, 3\)"):
        faithfulness(random_model({}), IMAGES, torch.zeros(3, 3, 2), CLASSES)


def test_an_explanation_that_only_sees_the_picture_does_not_change_with_the_weights() -> None:
    """The sanity check itself can tell."""
    model = random_model({})
    alike = randomised_from_the_top(
        model,
        IMAGES,
        CLASSES,
        lambda model, images, classes: images.mean(1).unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)),  # noqa: ARG005
    )
    torch.testing.assert_close(alike, torch.ones(4))


def test_the_sanity_check_changes_a_copy_of_the_model_part_by_part_from_the_top() -> None:
    model = random_model({})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed: list[list[str]] = []

    def explain(model: ViT, *_: Any) -> torch.Tensor:
        values = model.state_dict()
        changed.append([name for name in before if not torch.equal(before[name], values[name])])
        return torch.zeros(3, *GRID)

    randomised_from_the_top(model, IMAGES, CLASSES, explain)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    parts = ["head.", *(f"transformer.layers.{number}." for number in (2, 1, 0))]
    reached = [{part for part in parts if any(name.startswith(part) for name in names)} for names in changed]
    assert reached == [set(parts[:count]) for count in range(5)]
    assert any(name.startswith("transformer.normalization.") for name in changed[1])


def test_patches_that_a_map_takes_for_equal_have_equal_ranks() -> None:
    """Ranked by their place in memory, maps that are 0 nearly everywhere would be alike."""
    model, maps = random_model({}), torch.tensor([[[0.0, 0, 0], [0, 3, 1]], [[2, 2, 0], [1, 0, 0]]])
    given = cycle([maps[:1], maps[1:]])
    alike = randomised_from_the_top(model, IMAGES[:1], CLASSES[:1], lambda *_: next(given))
    expected = float(spearmanr(maps[0].flatten(), maps[1].flatten()).statistic)
    torch.testing.assert_close(alike, torch.tensor([expected, 1, expected, 1]))


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    model, state = random_model({}), torch.get_rng_state()
    alike = [randomised_from_the_top(model, IMAGES, CLASSES, attention_lrp, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(alike[0], alike[1])
    assert not torch.equal(alike[0], alike[2])


def test_random_orders_of_another_map_stand_for_this_one_too() -> None:
    model = random_model({})
    maps = torch.rand(2, 3, *GRID, generator=torch.Generator().manual_seed(1))
    first = faithfulness(model, IMAGES, maps[0], CLASSES)
    alone = faithfulness(model, IMAGES, maps[1], CLASSES)
    beside = faithfulness(model, IMAGES, maps[1], CLASSES, beside=first)
    assert torch.equal(alone.random_insertion, beside.random_insertion)
    assert torch.equal(alone.advantage(), beside.advantage())
