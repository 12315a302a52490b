"""With activation checkpointing a model computes what it computed, and keeps less for the backward pass."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.recipes import everything
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vision_transformers import ViT
from vision_transformers.model.activation_checkpointing import checkpoint_activations
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.low_rank import add_low_rank
from vision_transformers.training.train import train

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dropout": 0.3},
    {"stochastic_depth": 0.4, "pool": "mean"},
    {"class_token": False, "positions": "rotary", "pool": "attention", "number_of_register_tokens": 2},
    {"activation": "swiglu", "layer_scale": 0.1},
)
IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def model_of(options: dict[str, Any]) -> ViT:
    torch.manual_seed(0)
    return ViT((4, 4), 32, 4, 2, 64, 3, 5, (16, 16), **options)


def dressed(model: ViT) -> ViT:
    other = copy.deepcopy(model)
    checkpoint_activations(other.transformer.layers)
    return other


def logits_and_gradients(model: ViT) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    logits = model(IMAGES)
    logits.square().sum().backward()
    return logits, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_and_gradients_are_the_same_to_the_bit(options: dict[str, Any]) -> None:
    """Dropout and stochastic depth must draw in the second forward pass what they drew in the first."""
    model = model_of(options)
    expected_logits, expected = logits_and_gradients(model)
    logits, gradients = logits_and_gradients(dressed(model_of(options)))
    assert torch.equal(logits, expected_logits)
    assert len(gradients) == len(expected) == len(list(model.parameters()))
    assert all(map(torch.equal, gradients, expected))


def test_low_rank_matrices_learn_the_same() -> None:
    models = []
    for _ in range(2):
        models.append(model_of({}))
        torch.manual_seed(2)
        add_low_rank(models[-1].transformer.layers, LowRankConfig(2))
    checkpoint_activations(models[1].transformer.layers)
    (_, expected), (_, found) = map(logits_and_gradients, models)
    assert all(map(torch.equal, found, expected))


def test_layers_keep_nothing_but_their_input() -> None:
    """Otherwise nothing is saved by it."""

    def kept(model: ViT) -> int:
        numbers = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with saved_tensors_hooks(count, lambda tensor: tensor):
            model.transformer(torch.randn(6, 17, 32))
        return numbers

    model = model_of({})
    assert kept(dressed(model)) < kept(model) / 10


def test_the_model_stays_what_it_was_for_everyone_else() -> None:
    """Its weights are saved and loaded by the same names, and it may be dressed again, copied and asked."""
    model = model_of({})
    other = dressed(dressed(model))
    assert list(other.state_dict()) == list(model.state_dict())
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert [type(layer).__mro__[2] for layer in other.transformer.layers] == [
        type(layer) for layer in model.transformer.layers
    ]
    assert other.tokens_read == 1
    logits, weights = copy.deepcopy(other)(IMAGES, need_weights=True)
    expected_logits, expected_weights = model(IMAGES, need_weights=True)
    assert torch.equal(logits, expected_logits)
    assert all(map(torch.equal, weights, expected_weights))


def test_a_model_is_saved_whole_and_loaded_in_another_process(tmp_path: Path) -> None:
    """As `torch.save(model)` does, and whatever sends a model to another process."""
    model = dressed(model_of({}))
    assert len({type(layer) for layer in model.transformer.layers}) == 1
    torch.save(model, tmp_path / "model.pt")
    torch.save(IMAGES, tmp_path / "images.pt")
    program = (
        "import torch\n"
        "model = torch.load('model.pt', weights_only=False)\n"
        "print([type(layer).__name__ for layer in model.transformer.layers])\n"
        "torch.save(model(torch.load('images.pt')), 'logits.pt')"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == f"{['CheckpointedEncoder'] * 4}\n", run.stderr
    assert torch.allclose(torch.load(tmp_path / "logits.pt"), model(IMAGES), atol=1e-6)
    for copied in (
        copy.copy(model.transformer.layers[0]),
        pickle.loads(pickle.dumps(model)).transformer.layers[0],
    ):
        assert type(copied) is type(model.transformer.layers[0])
        assert all(map(torch.equal, copied.parameters(), model.transformer.layers[0].parameters()))


def test_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Dropout, mixup, Muon, parts and a moving average included."""
    for name, recomputes in (("plain", False), ("again", True)):
        train(everything(steps=4, activation_checkpointing=recomputes), tmp_path / name)
    plain, again = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("plain", "again")
    )
    assert again == plain
