"""Means of tokens in C are a softmax and two products, to bfloat16's precision."""

import pytest
import torch
from tests.model.computing import relative_error, threads
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vision_transformers.model.gathering import gather
from vision_transformers.model.kernels import token_means as module
from vision_transformers.model.kernels.token_means import average, is_served

pytestmark = pytest.mark.skipif(
    not module.is_available(), reason="needs gcc and AMX: PyTorch computes everything"
)
SIZES = [(1, 1, 32, 1), (3, 5, 32, 3), (7, 50, 128, 8), (2, 65, 192, 12), (2, 197, 384, 16), (1, 300, 64, 5)]
"""Images, tokens, the width of a token, and vectors."""


@pytest.fixture(autouse=True)
def _however_little_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_NUMBERS", 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def given(images: int, tokens: int, width: int, vectors: int) -> list[Tensor]:
    """Vectors whose products with tokens differ."""
    found = (random(images, tokens, width), random(images, vectors, width, seed=1) * 2 * width**-0.5)
    return [tensor.bfloat16().requires_grad_() for tensor in found]


def written_out(sequence: Tensor, vectors: Tensor) -> Tensor:
    return (vectors @ sequence.transpose(1, 2)).softmax(dim=2) @ sequence


def with_gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [out, *torch.autograd.grad(out, inputs, random(*out.shape, seed=2).to(out.dtype))]


@pytest.mark.parametrize("sizes", SIZES)
def test_they_and_their_gradients_are_as_near_to_the_truth_as_rounding_allows(
    sizes: tuple[int, int, int, int],
) -> None:
    inputs = given(*sizes)
    exactly = [tensor.detach().double().requires_grad_() for tensor in inputs]
    truths = with_gradients(written_out(*exactly), exactly)
    for found, truth in zip(with_gradients(average(*inputs), inputs), truths, strict=True):
        assert found.dtype == torch.bfloat16
        if truth.norm() > 1e-9:  # of one token alone, its score teaches nothing
            assert relative_error(found, truth) < 0.006


def scattered(tensor: Tensor) -> Tensor:
    return tensor.detach().permute(1, 2, 0).contiguous().permute(2, 0, 1)


def test_however_tensors_lie_in_memory_they_are_the_same() -> None:
    """Copies of them were once read after their memory had been given to others."""
    inputs = given(7, 50, 128, 8)
    expected = with_gradients(average(*inputs), inputs)
    direction = scattered(random(*expected[0].shape, seed=2))
    lying = [scattered(tensor).requires_grad_() for tensor in inputs]
    out = average(*lying)
    found = [out, *torch.autograd.grad(out, lying, direction)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_number_of_threads_changes_nothing() -> None:
    inputs = given(7, 50, 128, 8)
    with threads(1):
        alone = with_gradients(average(*inputs), inputs)
    for number in (2, 3, 11):
        with threads(number):
            found = with_gradients(average(*inputs), inputs)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_what_is_not_a_number_stays_in_its_image() -> None:
    sequence, vectors = (tensor.detach() for tensor in given(5, 17, 32, 3))
    usual = average(sequence, vectors)
    sequence[2, 3, 4] = torch.nan
    found = average(sequence, vectors)
    assert found[2].isnan().any()
    found[2] = usual[2]
    assert torch.equal(found, usual)


def test_scores_far_apart_are_no_infinities() -> None:
    sequence, vectors = (tensor.detach() for tensor in given(2, 17, 32, 3))
    found = average(sequence * 100, vectors * 100)
    truth = written_out((sequence * 100).double(), (vectors * 100).double())
    assert relative_error(found, truth) < 0.006


def test_another_type_or_shape_is_refused() -> None:
    """It would be read as if it were bfloat16, or beyond its memory."""
    sequence, vectors = (tensor.detach() for tensor in given(2, 17, 32, 3))
    operator = torch.ops.vision_transformers.token_means.default
    for tokens, others, said in (
        (sequence.float(), vectors, "float32"),
        (sequence[..., :24], vectors[..., :24], r"not \(2, 17, 24\)"),
        (sequence[0], vectors, r"not \(17, 32\)"),
        (sequence, vectors[:, :0], r"not \(2, 0, 32\)"),
        (sequence, vectors.repeat(1, 6, 1), r"not \(2, 18, 32\)"),
        (sequence, vectors[:1], r"shape \(2, 3, 32\), not torch.bfloat16 of \(1, 3, 32\)"),
    ):
        with pytest.raises(ValueError, match=said):
            operator(tokens, others)
    means, weights = operator(sequence, vectors)
    with pytest.raises(ValueError, match=r"shape \(2, 17, 3\)"):
        torch.ops.vision_transformers.token_means_backward.default(means, sequence, vectors, weights[:, :5])


def test_it_is_an_operator_that_pytorch_can_check() -> None:
    torch.library.opcheck(torch.ops.vision_transformers.token_means.default, tuple(given(3, 17, 32, 4)))


def test_pytorch_counts_its_operations() -> None:
    inputs = given(3, 17, 32, 4)
    with FlopCounterMode(display=False) as counter:
        with_gradients(average(*inputs), inputs)
    assert counter.get_total_flops() == 3 * 2 * 2 * 3 * 17 * 32 * 4


def test_only_what_it_can_do_faster_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence, vectors = given(2, 17, 32, 3)
    assert is_served(sequence, vectors)
    assert not is_served(sequence.float(), vectors.float())
    assert not is_served(random(2, 17, 24), random(2, 3, 24))
    assert not is_served(sequence, random(2, 17, 32))
    assert not is_served(random(1, 258, 1024), random(1, 3, 1024))
    with torch.autocast("cpu", torch.bfloat16):
        assert is_served(sequence.float(), vectors.float())
    monkeypatch.setattr(module, "LEAST_NUMBERS", 2 * 17 * 32 + 1)
    assert not is_served(sequence, vectors)


def test_what_few_queries_gather_is_the_same() -> None:
    """And its gradients, and theirs."""
    queries = random(2, 2, 32).requires_grad_()
    sequence, keys, values = (random(*shape, seed=1) for shape in ((2, 17, 32), (32, 32), (32, 32)))
    wanted = [queries, sequence.requires_grad_()]

    def penalty() -> list[Tensor]:
        out = gather(queries, sequence, keys / 6, values, None, 4)
        (gradient,) = torch.autograd.grad(out.float().square().sum(), sequence, create_graph=True)
        return [out, gradient, *torch.autograd.grad(gradient.float().square().sum(), wanted)]

    found = penalty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "is_served", lambda *_: False)
        expected = penalty()
    assert all(relative_error(a, b.double()) < 0.03 for a, b in zip(found, expected, strict=True))
