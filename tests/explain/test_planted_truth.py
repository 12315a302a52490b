"""Where one patch alone decides, an explanation must find it; and forget it with the weights."""

import pytest
import torch
from tests.explain.planted import CELLS, plant
from tests.explain.small_model import trained

from vision_transformers.explain.faithfulness import faithfulness
from vision_transformers.explain.methods import METHODS
from vision_transformers.explain.sanity import randomised_from_the_top
from vision_transformers.model.config import Pool

UNSEEN = plant(500, seed=2)
LEAST = {
    "occlusion": 0.99,
    "occlusion-mean": 0.98,
    "attention-lrp": 0.99,
    "integrated-gradients": 0.8,
    "rollout": 0.9,
    "relevance": 0.6,
    "attention": 0.6,
}
"""What was measured, less some room for other machines and other first weights (docs/log.md)."""
POOLS = ["class", pytest.param("mean", marks=pytest.mark.slow)]  # the second model takes a minute to train


@pytest.mark.parametrize("pool", POOLS)
def test_the_model_knows_the_task(pool: Pool) -> None:
    with torch.no_grad():
        guesses = trained(pool)(UNSEEN.images).argmax(dim=1)
    assert float((guesses == UNSEEN.labels).float().mean()) > 0.99


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", METHODS)
def test_the_deciding_patch_is_found(name: str, pool: Pool) -> None:
    maps = METHODS[name].explain(trained(pool), UNSEEN.images, UNSEEN.labels)
    found = float((maps.flatten(1).argmax(dim=1) == UNSEEN.cells).float().mean())
    assert found >= LEAST[name], f"{name}: {found:.1%}"


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_better_than_random_orders(name: str) -> None:
    model, images, labels = trained("class"), UNSEEN.images[:100], UNSEEN.labels[:100]
    maps = METHODS[name].explain(model, images, labels)
    for removal in ("drop", "mean"):
        advantage = faithfulness(model, images, maps, labels, removal).advantage()  # type: ignore[arg-type]
        assert float(advantage.mean()) > 2 * float(advantage.std()) / 10, removal


@pytest.mark.parametrize("name", METHODS)
def test_maps_change_when_the_weights_are_made_random(name: str) -> None:
    images, labels = UNSEEN.images[:64], UNSEEN.labels[:64]
    alike = randomised_from_the_top(trained("class"), images, labels, METHODS[name].explain)
    assert float(alike[-1]) < 0.5, alike.tolist()


def test_the_pictures_are_what_they_are_said_to_be() -> None:
    """The cue's place tells nothing of the class, and the same seed gives the same pictures."""
    again = plant(500, seed=2)
    assert torch.equal(again.images, UNSEEN.images)
    counts = torch.bincount(UNSEEN.cells, minlength=CELLS**2)
    assert counts.min() > 0
