import pytest
import torch

from vision_transformers.randomness import derive_seed, generator, uniform


def correlation(first, second):
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].abs()


def numbers(seed=0, count=20_000, draws=12):
    return uniform(derive_seed(seed, "batch", 0), torch.arange(count), draws)


def test_numbers_are_uniform_from_0_to_1():
    for draw in numbers().unbind(1):
        assert draw.min() >= 0
        assert draw.max() < 1
        assert abs(draw.mean() - 1 / 2) < 0.01
        assert abs(draw.var() - 1 / 12) < 0.003
        assert (draw.histc(10, 0, 1) - 2000).abs().max() < 200


def test_neighbouring_images_draws_and_seeds_are_not_correlated():
    """Else neighbouring images, or two epochs, would be shifted and mirrored together."""
    first = numbers()
    assert correlation(first[1:], first[:-1]) < 0.01
    assert correlation(first[:, 1:], first[:, :-1]) < 0.01
    assert correlation(first, numbers(seed=1)) < 0.01
    by_raw_seed = [uniform(seed, torch.arange(20_000), 12) for seed in (1, 2)]
    assert correlation(*by_raw_seed) < 0.01


@pytest.mark.parametrize("stride", [1, 2, 64, 4096, 2**20])
def test_regular_choices_of_images_are_uniform_too(stride):
    """An epoch's batches, or a process's part of them, may hold every n-th image."""
    draw = uniform(derive_seed(0), torch.arange(5000) * stride, 1)
    assert abs(draw.mean() - 1 / 2) < 0.02
    assert abs(draw.var() - 1 / 12) < 0.005


def test_an_images_numbers_do_not_depend_on_its_batch_nor_on_how_many_are_drawn():
    indices = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    seed = derive_seed(0)
    assert torch.equal(uniform(seed, indices, 5)[7:9], uniform(seed, indices[7:9], 5))
    assert torch.equal(uniform(seed, indices, 5)[:, :3], uniform(seed, indices, 3))


def test_no_two_images_share_their_numbers():
    assert len(numbers(count=5000, draws=2).unique(dim=0)) == 5000


def test_positions_that_look_alike_have_different_seeds():
    """`seed + epoch` would give the second epoch of seed 0 the numbers of the first epoch of seed 1."""
    positions = [(0, "order", 1), (1, "order", 0), (0, "image", 1), (0, "order", 1, 0), ("0", "order", 1)]
    assert len({derive_seed(*position) for position in positions}) == len(positions)


def test_a_seed_is_the_same_in_every_version():
    """A run is resumed from its seed: another hash would shuffle its data anew."""
    assert derive_seed(0, "order", 1) == 2002067703672271585
    first, second = (torch.rand(3, generator=generator(0, "order", 1)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_numbers_that_a_cpu_makes():
    indices = torch.arange(1000)
    assert torch.equal(uniform(7, indices.cuda(), 5).cpu(), uniform(7, indices, 5))
