import numpy
import pytest
import torch

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.mixing import mix

CLASSES = 6


def batch(count=6, channels=3, height=10, width=14):
    """Image i is i everywhere and has class i, so that a mixed image says what it was mixed from."""
    images = torch.arange(float(count))[:, None, None, None].expand(-1, channels, height, width)
    return images, torch.eye(CLASSES)[torch.arange(count) % CLASSES]


def mixed(step=0, seed=0, micro_batch=0, count=6, **augmentation):
    images, targets = batch(count)
    return mix(images, targets, Augmentation(**augmentation), seed, step, micro_batch)


@pytest.mark.parametrize("augmentation", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_targets_stay_distributions_over_the_classes(augmentation):
    for step in range(30):
        _, targets = mixed(step, **augmentation)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        assert (targets >= 0).all()


def test_mixup_mixes_images_and_targets_in_the_same_proportion():
    for step in range(30):
        images, targets = mixed(step, mixup=0.8)
        classes = torch.arange(float(CLASSES))
        torch.testing.assert_close(images, (targets @ classes)[:, None, None, None].expand_as(images))


def test_cutmix_pastes_one_rectangle_and_targets_give_its_exact_area():
    shares = []
    for step in range(60):
        images, targets = mixed(step, cutmix=1.0)
        pasted = images != batch()[0]
        assert torch.equal(images[pasted], batch()[0].flip(0)[pasted])
        inside = pasted[0, 0]
        assert torch.equal(inside, inside.any(1)[:, None] & inside.any(0)[None, :])
        assert torch.equal(pasted, inside.expand_as(pasted))
        share = inside.double().mean()
        torch.testing.assert_close(targets[0, 5].double(), share, atol=1e-6, rtol=0)
        torch.testing.assert_close(targets[0, 0].double(), 1 - share, atol=1e-6, rtol=0)
        shares.append(share.item())
    assert min(shares) < 0.1
    assert max(shares) > 0.6


def pasted(step: int) -> torch.Tensor:
    """Where the rectangle lies, which takes about half of the image where it is not cut off."""
    images, targets = batch(count=2, channels=1, height=40, width=60)
    return mix(images, targets, Augmentation(cutmix=200.0), seed=0, step=step, micro_batch=0)[0][0, 0] != 0


def test_the_share_of_cutmix_has_the_distribution_of_its_alpha() -> None:
    """Beta(200, 200) is near a half: no rectangle is larger, and one that lies inside is as large."""
    assert 0.4 < max(pasted(step).double().mean().item() for step in range(200)) < 0.6


def test_rectangles_of_cutmix_reach_opposite_sides_equally_often() -> None:
    often = torch.stack([pasted(step) for step in range(400)]).double().mean(dim=0)
    for side, opposite in ((often[0], often[-1]), (often[:, 0], often[:, -1])):
        assert side.mean().item() == pytest.approx(opposite.mean().item(), abs=0.15)


def test_the_middle_of_an_odd_batch_is_mixed_with_itself():
    images, targets = mixed(mixup=1.0, count=5)
    torch.testing.assert_close(images[2], torch.full_like(images[2], 2.0))
    torch.testing.assert_close(targets[2], torch.eye(CLASSES)[2])


def test_what_is_drawn_depends_on_the_seed_the_step_and_the_micro_batch_alone():
    """Else a resumed run would mix otherwise than one that was not interrupted."""
    first = mixed(mixup=0.8, cutmix=1.0, step=3)
    torch.manual_seed(1)
    numpy.random.seed(1)
    before = torch.get_rng_state()
    again = mixed(mixup=0.8, cutmix=1.0, step=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for position in ({"step": 4}, {"step": 3, "seed": 1}, {"step": 3, "micro_batch": 1}):
        assert not torch.equal(mixed(mixup=0.8, cutmix=1.0, **position)[0], first[0])


def test_lambda_has_the_distribution_of_mixup():
    """Beta(0.5, 0.5): mean 1/2, variance 1/8."""
    kept = numpy.array([mixed(step, mixup=0.5)[1][0, 0].item() for step in range(2000)])
    assert abs(kept.mean() - 0.5) < 0.03
    assert abs(kept.var() - 0.125) < 0.01


def test_with_both_each_mixes_half_of_the_batches():
    blended = sum(mixed(step, mixup=1.0, cutmix=1.0)[0][0].unique().numel() == 1 for step in range(400))
    assert 150 < blended < 260


@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 0, 0), (0.3, 60, 120), (1.0, 295, 300)])
def test_only_the_chosen_share_of_batches_is_mixed(probability, least, most):
    changed = sum(
        not torch.equal(mixed(step, mixup=1.0, mix_probability=probability)[0], batch()[0])
        for step in range(300)
    )
    assert least <= changed <= most


def test_a_batch_is_left_alone_where_nothing_is_on():
    images, targets = mixed()
    assert torch.equal(images, batch()[0])
    assert torch.equal(targets, batch()[1])


def test_the_callers_tensors_are_not_changed():
    images, targets = batch()
    images = images.clone()
    mix(images, targets, Augmentation(cutmix=1.0), seed=0, step=0, micro_batch=0)
    assert torch.equal(images, batch()[0])
