"""Pictures of a model's weights are what the paper's figure 7 says they are."""

import torch
from scipy.spatial.distance import cdist
from tests.explain.models import GRID, IMAGES, random_model

from vision_transformers.explain.weights import attention_distance, position_similarity


@torch.no_grad()
def test_positions_of_patches_are_compared_by_cosine_on_the_grid() -> None:
    model = random_model({"number_of_register_tokens": 2})
    positions = model.positions.get_parameter("position_embeddings")[0, -6:].numpy()
    expected = 1 - torch.from_numpy(cdist(positions, positions, "cosine"))
    found = position_similarity(model)
    assert found.shape == (*GRID, *GRID)
    torch.testing.assert_close(found.flatten(2).flatten(0, 1).double(), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_distance_of_attention_is_in_pixels_and_of_patches_alone() -> None:
    model = random_model({}, patch_shape=(4, 2))
    _, weights = model(IMAGES, need_weights=True)
    middles = [(4 * row, 2 * column) for row in range(2) for column in range(6)]
    distances = torch.from_numpy(cdist(middles, middles)).float()
    for layer, found in zip(weights, attention_distance(model, IMAGES), strict=True):
        between = layer[:, :, 1:, 1:]
        means = (between * distances).sum(dim=3) / between.sum(dim=3)
        torch.testing.assert_close(found, means.mean(dim=(0, 2)))


def test_dropout_does_not_reach_the_distance_of_attention() -> None:
    model = random_model({"dropout": 0.5, "stochastic_depth": 0.5})
    expected = attention_distance(model.eval(), IMAGES)
    torch.testing.assert_close(attention_distance(model.train(), IMAGES), expected)
