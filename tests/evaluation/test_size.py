"""How large a model is said to be is how large it is."""

import pytest
import torch

from vision_transformers.evaluation.matrix_products import matrix_products, operations_of
from vision_transformers.evaluation.size import size_of
from vision_transformers.model.config import Pool, ViTConfig
from vision_transformers.model.vit import ViT


@pytest.mark.parametrize("pool", ["class", "mean", "attention"])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_config_tells_the_size_of_its_model(pool: Pool, layers: int) -> None:
    config = ViTConfig((7, 7), 32, layers, 4, 64, 1, 10, pool=pool)
    model, image = ViT.from_config(config).eval(), torch.zeros(1, 1, 28, 28)
    with torch.no_grad():
        operations = operations_of(matrix_products(lambda: model(image)))
    size = size_of(config)
    assert size.multiplications == operations / 2
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
