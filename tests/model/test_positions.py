import numpy as np
import pytest
import torch
from tests.parity.weights import randomise

from vision_transformers.model.position_resize import resize_positions
from vision_transformers.model.positions import LearnablePositionalEncoding, SineCosinePositionalEncoding
from vision_transformers.model.vit import ViT


def test_alone_it_adds_its_first_rows():
    encoding = LearnablePositionalEncoding(8)
    assert encoding.position_embeddings.shape == (1, 197, 8)
    sequence = torch.randn(3, 50, 8)
    assert torch.equal(encoding(sequence), sequence + encoding.position_embeddings[:, :50])
    assert LearnablePositionalEncoding(8, 10, 3).position_embeddings.shape == (1, 13, 8)


def test_a_sequence_that_is_too_long_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"18 tokens.* 17 learned positions"):
        LearnablePositionalEncoding(8, sequence_length_limit=16)(torch.randn(1, 18, 8))


def test_positions_without_a_grid_cannot_be_resized():
    with pytest.raises(ValueError, match="grid=\\(rows, columns\\)"):
        LearnablePositionalEncoding(8, 16)(torch.randn(1, 17, 8), (4, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (4, 5)}, "sequence_length_limit is 16: a grid of 4 x 5 patches needs 20"),
        ({"number_of_prefix_tokens": 0}, "number_of_prefix_tokens is 0: expected 1 or more"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(options, message):
    """They failed far from here, or cut positions of patches off."""
    with pytest.raises(ValueError, match=message):
        LearnablePositionalEncoding(8, 16, **options)


def test_at_its_own_grid_the_table_is_added_to_the_bit():
    """Training at one size never resizes: else every step would pay for it and blur the table."""
    encoding = LearnablePositionalEncoding(8, 12, 1, grid=(3, 4))
    assert encoding.positions((3, 4)) is encoding.position_embeddings


@pytest.mark.parametrize(("prefix_positions", "rows"), [("none", 0), ("class", 1), ("all", 3)])
@pytest.mark.parametrize("image_shape", [(16, 16), (8, 24)])
def test_prefix_tokens_have_the_positions_asked_for(prefix_positions, rows, image_shape):
    """Prefix rows are never resized, prefix tokens without a position get exactly nothing."""
    model = randomise(
        ViT(
            (4, 4), 8, 1, 2, 8, 3, 2, (16, 16), number_of_register_tokens=2, prefix_positions=prefix_positions
        )
    )
    grid = (image_shape[0] // 4, image_shape[1] // 4)
    table = model.positions.position_embeddings
    assert table.shape == (1, rows + 16, 8)
    positions = model.positions.positions(grid)
    assert positions.shape == (1, 3 + grid[0] * grid[1], 8)
    assert torch.equal(positions[:, :rows], table[:, :rows])
    assert not positions[:, rows:3].any()
    patches = table[:, rows:]
    if image_shape != (16, 16):
        patches = resize_positions(patches, (4, 4), grid, "bicubic-antialias")
    assert torch.equal(positions[:, 3:], patches)
    assert model(torch.randn(1, 3, *image_shape)).shape == (1, 2)


@pytest.mark.parametrize("include_last_frequency", [True, False])
def test_sine_cosine_positions_are_the_published_formulas(include_last_frequency):
    """arXiv 2205.01580 divides by D/4 - 1, MAE by D/4: weights trained with one fail with the other."""
    dimension, (rows, columns) = 16, (3, 5)
    steps = dimension / 4 - 1 if include_last_frequency else dimension / 4
    frequencies = [10000 ** -(k / steps) for k in range(dimension // 4)]
    expected = [
        [np.sin(x * w) for w in frequencies]
        + [np.cos(x * w) for w in frequencies]
        + [np.sin(y * w) for w in frequencies]
        + [np.cos(y * w) for w in frequencies]
        for y in range(rows)
        for x in range(columns)
    ]
    encoding = SineCosinePositionalEncoding(dimension, 2, include_last_frequency=include_last_frequency)
    positions = encoding.positions((rows, columns), torch.device("cpu"))
    assert not positions[:, :2].any()
    np.testing.assert_allclose(positions[0, 2:].numpy(), expected, rtol=0, atol=1e-6)


def test_sine_cosine_positions_of_a_larger_grid_begin_like_those_of_a_smaller():
    """They are computed for every grid, so that nothing is resized."""
    encoding = SineCosinePositionalEncoding(16, 0)
    small = encoding.positions((2, 3), torch.device("cpu")).unflatten(1, (2, 3))
    large = encoding.positions((4, 5), torch.device("cpu")).unflatten(1, (4, 5))
    assert torch.equal(large[:, :2, :3], small)
