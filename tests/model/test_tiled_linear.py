"""A linear layer whose weight learns by tiles is a linear layer, to bfloat16's precision."""

import pytest
import torch
import torch.nn.functional as F
from tests.model.computing import relative_error, threads
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vision_transformers.model.attention import PartlyBiasedLinear
from vision_transformers.model.kernels import tiled_linear as module
from vision_transformers.model.kernels.tiled_linear import is_served, linear, tiled_linear, weight_gradient

pytestmark = pytest.mark.skipif(
    not module.is_available(), reason="needs gcc and AMX: PyTorch computes everything"
)
SIZES = [(1, 32, 32), (31, 96, 64), (257, 64, 160), (1000, 128, 384), (300, 384, 1536), (300, 1536, 384)]
"""Tokens, and the widths of what goes in and what comes out."""


@pytest.fixture(autouse=True)
def _however_little_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_TOKENS", 0)
    monkeypatch.setattr(module, "LEAST_MULTIPLICATIONS", 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def given(tokens: int, inputs: int, outputs: int) -> list[Tensor]:
    weight = (random(outputs, inputs, seed=1) * inputs**-0.5).bfloat16()
    found = [random(tokens, inputs), weight, random(outputs, seed=2)]
    return [tensor.requires_grad_() for tensor in found]


def with_gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [out, *torch.autograd.grad(out, inputs, random(*out.shape, seed=3).to(out.dtype))]


@pytest.mark.parametrize("sizes", SIZES)
def test_it_and_its_gradients_are_as_near_to_the_truth_as_rounding_allows(
    sizes: tuple[int, int, int],
) -> None:
    inputs = given(*sizes)
    exactly = [tensor.detach().double().requires_grad_() for tensor in inputs]
    truths = with_gradients(F.linear(*exactly), exactly)
    for found, truth in zip(with_gradients(tiled_linear(*inputs), inputs), truths, strict=True):
        assert found.dtype == torch.bfloat16
        assert relative_error(found, truth) < 0.004


@pytest.mark.parametrize("sizes", SIZES)
def test_the_number_of_threads_changes_nothing(sizes: tuple[int, int, int]) -> None:
    """Each sum is one thread's, from the first token to the last."""
    tokens, inputs, outputs = sizes
    gradient, sequence = random(tokens, outputs), random(tokens, inputs, seed=1)
    with threads(1):
        alone = weight_gradient(gradient, sequence)
    for number in (2, 3, 7):
        with threads(number):
            found = weight_gradient(gradient, sequence)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_no_tokens_teach_nothing() -> None:
    inputs = given(0, 32, 64)
    out, tokens, *weights = with_gradients(tiled_linear(*inputs), inputs)
    assert (out.shape, tokens.shape) == ((0, 64), (0, 32))
    assert not any(gradient.any() for gradient in weights)


def test_however_its_tensors_lie_in_memory_it_is_the_same() -> None:
    gradient, sequence = random(40, 64), random(40, 32, seed=1)
    scattered = (tensor.t().contiguous().t() for tensor in (gradient, sequence))
    for found, expected in zip(weight_gradient(*scattered), weight_gradient(gradient, sequence), strict=True):
        assert torch.equal(found, expected)


def test_another_type_or_shape_is_refused() -> None:
    """It would be read as if it were bfloat16, or beyond its memory."""
    gradient, sequence = random(4, 64), random(4, 32)
    with pytest.raises(ValueError, match="float16"):
        weight_gradient(gradient.half(), sequence)
    with pytest.raises(ValueError, match="multiples of 32"):
        weight_gradient(gradient, sequence[:, :24])
    with pytest.raises(ValueError, match="multiples of 32"):
        weight_gradient(gradient, sequence[:, :0])
    with pytest.raises(ValueError, match="for 4 tokens"):
        weight_gradient(gradient, sequence[:3])


def test_without_its_c_pytorch_finds_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another operator may count on them whose own C is there."""
    gradient, sequence = random(40, 64), random(40, 32, seed=1)
    expected = weight_gradient(gradient, sequence)
    monkeypatch.setattr(module, "PROGRAMS", ())
    for found, ours in zip(weight_gradient(gradient, sequence), expected, strict=True):
        assert relative_error(found, ours.double()) < 0.006


def test_it_is_an_operator_that_pytorch_can_check() -> None:
    torch.library.opcheck(tiled_linear, tuple(given(5, 32, 64)))


def test_pytorch_counts_its_operations() -> None:
    inputs = given(5, 32, 64)
    with FlopCounterMode(display=False) as counter:
        with_gradients(tiled_linear(*inputs), inputs)
    assert counter.get_total_flops() == 3 * 2 * 5 * 32 * 64


@pytest.mark.parametrize("name", ["_linear_pointwise", "nothing"])
def test_a_pytorch_without_the_product_that_adds_a_bias_has_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = given(50, 32, 64)
    monkeypatch.setattr(module, "_with_bias", getattr(torch.ops.mkldnn, name, None))
    assert relative_error(tiled_linear(*inputs), F.linear(*inputs).double()) < 0.004


def layer(inputs: int = 32, outputs: int = 64) -> nn.Linear:
    return nn.Linear(inputs, outputs).bfloat16()


def test_only_what_it_can_do_faster_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = random(2, 17, 32).requires_grad_()
    assert is_served(sequence, layer())
    assert not is_served(sequence.detach(), layer())
    assert not is_served(sequence.float(), layer().float())
    assert not is_served(random(2, 17, 24).requires_grad_(), layer(24))
    assert not is_served(sequence, layer(outputs=40))
    assert not is_served(sequence, layer(inputs=64))
    assert not is_served(sequence, PartlyBiasedLinear(32, 32, (True, False)).bfloat16())
    assert not is_served(sequence, nn.Linear(32, 64, bias=False).bfloat16())
    with torch.no_grad():
        assert not is_served(sequence, layer())
    with torch.autocast("cpu", torch.bfloat16):
        assert is_served(sequence.float(), layer().float())
    with monkeypatch.context() as patch:
        patch.setattr(module, "LEAST_MULTIPLICATIONS", 2 * 17 * 32 * 64 + 1)
        assert not is_served(sequence, layer())
    monkeypatch.setattr(module, "LEAST_TOKENS", 2 * 17 + 1)
    assert not is_served(sequence, layer())


def test_what_is_to_happen_in_a_layer_happens() -> None:
    """Hooks are run, and frozen weights cost no gradients."""
    sequence = random(2, 17, 32).requires_grad_()
    hooked, frozen = layer(), layer()
    calls: list[nn.Module] = []
    hooked.register_forward_hook(lambda module, *_: calls.append(module))
    linear(sequence, hooked)
    assert calls == [hooked]
    frozen.weight.requires_grad_(requires_grad=False)
    assert not is_served(sequence, frozen)
    assert linear(sequence, frozen).shape == (2, 17, 64)


def test_under_autocast_it_is_what_the_layer_gives() -> None:
    sequence, of_float32 = random(2, 17, 32).float().requires_grad_(), layer().float()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = linear(sequence, of_float32), of_float32(sequence)
    wanted = [sequence, *of_float32.parameters()]
    for ours, theirs in zip(with_gradients(found, wanted), with_gradients(expected, wanted), strict=True):
        assert ours.dtype == theirs.dtype
        assert relative_error(ours, theirs.double()) < 0.004


def test_gradients_with_a_graph_are_those_without() -> None:
    """And have gradients themselves."""
    sequence, used = random(2, 17, 32).requires_grad_(), layer()
    wanted = [sequence, *used.parameters()]
    expected = torch.autograd.grad(linear(sequence, used).float().square().sum(), wanted)
    found = torch.autograd.grad(linear(sequence, used).float().square().sum(), wanted, create_graph=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs.double()) < 0.01
    (again,) = torch.autograd.grad(found[0].float().square().sum(), used.weight)
    assert again.any()
