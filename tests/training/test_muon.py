"""Muon is PyTorch's, only that matrices of one shape go together."""

import pytest
import torch

from vision_transformers.training.muon import Muon, orthogonalised

SHAPES = [(24, 8), (8, 8), (24, 8), (8, 16), (8, 8)]


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def test_it_takes_the_steps_of_pytorch_s_muon() -> None:
    ours, theirs = matrices(), matrices()
    options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    optimizers = [Muon(ours, **options), torch.optim.Muon(theirs, **options)]
    for step in range(5):
        torch.manual_seed(step)
        for our, their in zip(ours, theirs, strict=True):
            our.grad = torch.randn(our.shape)
            their.grad = our.grad.clone()
        if step == 3:  # a frozen matrix stays as it is, and its momentum too
            ours[1].grad = theirs[1].grad = None
        for optimizer in optimizers:
            optimizer.step()
    for our, their, start in zip(ours, theirs, matrices(), strict=True):
        assert (our - their).norm() < 0.03 * (their - start).norm()  # theirs is in bfloat16 on any CPU
        our_buffer, their_buffer = (
            optimizer.state[parameter]["momentum_buffer"]
            for optimizer, parameter in zip(optimizers, (our, their), strict=True)
        )
        assert torch.allclose(our_buffer, their_buffer)


@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_decay_goes_with_the_rate(rate: float) -> None:
    """Where no gradient has a direction, decay alone moves a matrix."""
    matrix = torch.nn.Parameter(torch.ones(2, 4))
    matrix.grad = torch.zeros(2, 4)
    Muon([matrix], lr=rate, weight_decay=0.1).step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 4), 1 - rate * 0.1))


def test_steps_are_orthogonal() -> None:
    values = torch.linalg.svdvals(orthogonalised(torch.randn(3, 32, 16)).float())
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_a_matrix_s_step_does_not_depend_on_the_others() -> None:
    together = torch.randn(3, 16, 32)
    assert torch.equal(orthogonalised(together)[1], orthogonalised(together[1:2])[0])


def test_only_matrices_are_taken() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def test_a_closure_is_refused() -> None:
    """Ignored, it would leave the loss where it is, and say nothing."""
    matrix = torch.nn.Parameter(torch.eye(2))
    with pytest.raises(ValueError, match="closure"):
        Muon([matrix], lr=0.1).step(matrix.sum)
