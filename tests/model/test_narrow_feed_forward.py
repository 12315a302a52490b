"""A feed-forward network in C is two linear layers and exact GELU, to bfloat16's precision."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.model.computing import relative_error, threads
from torch import Tensor, nn
from torch.autograd import forward_ad

from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.encoder import Encoder
from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.kernels import narrow_feed_forward as module
from vision_transformers.model.kernels.narrow_feed_forward import (
    is_served,
    narrow_feed_forward,
    narrow_feed_forward_backward,
)
from vision_transformers.model.low_rank import add_low_rank


@pytest.fixture(params=module.PROGRAMS, ids=lambda program: program.source.stem, autouse=True)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> module.FeedForwardProgram:
    """One of the C files, also where this machine has a faster way."""
    program = replace(request.param, superseded_by=None)
    if not program.is_available():
        pytest.skip(f"needs gcc and {' and '.join(program.instructions)}")
    monkeypatch.setattr(module, "PROGRAMS", (program,))
    return program


SIZES = [
    (1, 32, 32),
    (7, 48, 80),
    (7, 96, 160),
    (64, 128, 64),
    (129, 64, 256),
    (300, 192, 384),
    (1000, 16, 32),
]
SIZES += [(300, 192, 768), (70, 384, 1536), (1, 256, 512)]
"""Tokens, and the width of a token and between the layers."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def given(tokens: int, width: int, hidden: int, scale: float = 1.0) -> list[Tensor]:
    """What the operator takes; before GELU, numbers are about as large as `scale`."""
    into, out_of = random(hidden, width, seed=1) * width**-0.5, random(width, hidden, seed=2) * hidden**-0.5
    biases = random(hidden, seed=3) * 0.1, random(width, seed=4) * 0.1
    found = [random(tokens, width) * scale, into, biases[0], out_of, biases[1]]
    return [tensor.bfloat16().requires_grad_() for tensor in found]


def written_out(tokens: Tensor, *layers: Tensor) -> Tensor:
    input_weight, input_bias, output_weight, output_bias = layers
    return F.linear(F.gelu(F.linear(tokens, input_weight, input_bias)), output_weight, output_bias)


def in_c(*inputs: Tensor) -> Tensor:
    return narrow_feed_forward(*inputs)[0]


def with_gradients(way: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = way(*inputs)
    direction = random(*out.shape, seed=5).to(out.dtype)
    return [out, *torch.autograd.grad(out, inputs, direction)]


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_and_its_gradients_are_as_near_to_the_truth_as_pytorch_is(
    sizes: tuple[int, int, int], scale: float, program: module.FeedForwardProgram
) -> None:
    if any(size % program.multiple for size in sizes[1:]):
        pytest.skip("PyTorch computes this")
    inputs = given(*sizes, scale)
    exactly = [tensor.detach().double().requires_grad_() for tensor in inputs]
    found = [
        with_gradients(way, tensors)
        for way, tensors in ((written_out, exactly), (in_c, inputs), (written_out, inputs))
    ]
    for truth, ours, theirs in zip(*found, strict=True):
        assert ours.isfinite().all()
        assert relative_error(ours, truth) <= max(1.2 * relative_error(theirs, truth), 0.004)


def every_finite_number() -> Tensor:
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    return numbers[numbers.isfinite()]


def test_gelu_and_its_slope_are_right_for_every_number() -> None:
    """One rounding away from the truth at most; of what is as small as 1e-7, nothing is asked."""
    x = every_finite_number()
    tokens = F.pad(x[:, None], (0, 31)).requires_grad_()
    identity, nothing = torch.eye(32).bfloat16(), torch.zeros(32).bfloat16()
    out = in_c(tokens, identity, nothing, identity, nothing)
    (slope,) = torch.autograd.grad(out[:, 0].sum(), tokens)
    exactly = x.double().requires_grad_()
    truth = F.gelu(exactly)
    (true_slope,) = torch.autograd.grad(truth.sum(), exactly)
    for found, expected in ((out[:, 0], truth), (slope[:, 0], true_slope)):
        assert ((found.double() - expected).abs() <= 2**-8 * expected.abs() + 1e-7).all()


@pytest.mark.parametrize("tokens", [3, 300, 1000])
def test_the_number_of_threads_changes_no_token(tokens: int) -> None:
    """And gradients by what float32 rounds: blocks are of other sizes, and added up in another order."""
    inputs = given(tokens, 64, 128)
    with threads(1):
        alone = with_gradients(in_c, inputs)
    for number in (2, 3, 7):
        with threads(number):
            out, of_tokens, *of_weights = with_gradients(in_c, inputs)
        assert torch.equal(out, alone[0])
        assert torch.equal(of_tokens, alone[1])
        assert all(relative_error(a, b) < 0.002 for a, b in zip(of_weights, alone[2:], strict=True))


@pytest.mark.parametrize(("width", "hidden"), [(64, 128), (192, 768)])
def test_the_same_again_is_the_same_to_the_bit(width: int, hidden: int) -> None:
    """Else no run could be resumed exactly: gradients are added up by several threads."""
    inputs = given(1000, width, hidden)
    with threads(3):
        first = with_gradients(in_c, inputs)
        for _ in range(20):
            again = with_gradients(in_c, inputs)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_without_learning_it_is_the_same() -> None:
    inputs = given(200, 64, 128)
    out, kept = narrow_feed_forward(*inputs, is_learned=False)
    assert torch.equal(out, in_c(*inputs))
    assert kept.shape == (0, 128)


def test_what_is_not_a_number_stays_in_its_token() -> None:
    inputs = [tensor.detach() for tensor in given(20, 32, 64)]
    usual = in_c(*inputs)
    inputs[0][5, 3] = torch.nan
    found = in_c(*inputs)
    assert found[5].isnan().all()
    found[5] = usual[5]
    assert torch.equal(found, usual)


@pytest.mark.parametrize(("width", "hidden"), [(32, 64), (192, 768)])
def test_no_tokens_teach_nothing(width: int, hidden: int) -> None:
    out, tokens, *weights = with_gradients(in_c, given(0, width, hidden))
    assert out.shape == tokens.shape == (0, width)
    assert not any(gradient.any() for gradient in weights)


def test_however_its_tensors_lie_in_memory_it_is_the_same() -> None:
    inputs = [tensor.detach() for tensor in given(40, 32, 64)]
    scattered = [tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for tensor in inputs]
    for tensor in scattered:
        tensor.requires_grad_()
    for tensor in inputs:
        tensor.requires_grad_()
    for found, expected in zip(with_gradients(in_c, scattered), with_gradients(in_c, inputs), strict=True):
        assert torch.equal(found, expected)


def test_another_type_or_shape_is_refused() -> None:
    """It would be read as if it were bfloat16, or beyond its memory."""
    inputs = given(4, 32, 64)
    with pytest.raises(ValueError, match="bfloat16"):
        narrow_feed_forward(*(tensor.half() for tensor in inputs))
    with pytest.raises(ValueError, match="and 24"):
        narrow_feed_forward(*given(4, 24, 64))
    with pytest.raises(ValueError, match=r"expected the shape \(64,\), not \(32,\)"):
        narrow_feed_forward(inputs[0], inputs[1], inputs[4], inputs[3], inputs[2])
    kept = narrow_feed_forward(*inputs)[1]
    with pytest.raises(ValueError, match=r"expected the shape \(4, 32\), not \(3, 32\)"):
        narrow_feed_forward_backward(inputs[0][:3], inputs[0], kept, inputs[1], inputs[3])


def test_it_is_an_operator_that_pytorch_can_check() -> None:
    torch.library.opcheck(narrow_feed_forward, tuple(given(5, 32, 64)))


def parts(layer: FeedForward) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    return layer.input_layer, layer.activation, layer.output_layer, layer.dropout


def test_only_what_it_can_do_faster_is_given_to_it() -> None:
    def served(layer: FeedForward, tokens: int = 64) -> bool:
        width = layer.input_layer.in_features
        return is_served(random(2, tokens, width), *parts(layer.bfloat16()))

    assert served(FeedForward(32, 64))
    assert not served(FeedForward(24, 64))
    assert not served(FeedForward(32, 64, activation=lambda: nn.GELU("tanh")))
    assert not served(FeedForward(32, 64, activation=nn.SiLU))
    assert not served(FeedForward(128, 256), tokens=32)
    assert served(FeedForward(128, 256), tokens=64)
    assert not served(FeedForward(512, 2048), tokens=10_000)
    assert not is_served(random(2, 64, 32).float(), *parts(FeedForward(32, 64)))
    assert not is_served(random(2, 64, 32).float(), *parts(FeedForward(32, 64).bfloat16()))


def test_what_learns_faster_may_infer_slower(program: module.FeedForwardProgram) -> None:
    """In compiled inference, PyTorch lays weights out once, which each call does here."""
    wide = FeedForward(192, 768).bfloat16()
    sequence = random(10, 100, 192)
    assert is_served(sequence, *parts(wide))
    with torch.no_grad():
        assert is_served(sequence, *parts(wide)) == (program.most_weights_inferred >= 192 * 768)


def test_what_is_to_happen_in_a_layer_happens() -> None:
    """Hooks see it, other layers take its place, frozen weights cost no gradients."""
    sequence = random(2, 64, 32)
    hooked, watched, frozen, without_bias = (FeedForward(32, 64).bfloat16() for _ in range(4))
    adapted = Encoder(32, 64, 4)
    add_low_rank(nn.ModuleList([adapted]), LowRankConfig(rank=2, parts=("feed-forward",)))
    hooked.activation.register_forward_hook(lambda *_: None)
    watched.dropout.register_forward_hook(lambda *_: None)
    frozen.output_layer.weight.requires_grad_(requires_grad=False)
    without_bias.input_layer.bias = None
    for layer in (hooked, watched, adapted.bfloat16().feed_forward, frozen, without_bias):
        assert not is_served(sequence, *parts(layer))
    with torch.no_grad():
        assert is_served(sequence, *parts(frozen))
    for parameter in frozen.parameters():
        parameter.requires_grad_(requires_grad=False)
    assert is_served(sequence, *parts(frozen))
    assert not is_served(sequence.requires_grad_(), *parts(frozen))


def network(width: int = 32, hidden: int = 64) -> FeedForward:
    torch.manual_seed(0)
    return FeedForward(width, hidden).bfloat16()


def test_what_pytorch_takes_is_taken() -> None:
    """A vector, layers of other widths, float64 under autocast."""
    assert network()(random(32)).shape == (32,)
    narrower = network()
    narrower.output_layer = nn.Linear(64, 16).bfloat16()
    assert not is_served(random(100, 32), *parts(narrower))
    with torch.autocast("cpu", torch.bfloat16):
        assert network().double()(random(100, 32).double()).dtype == torch.float64


def twice(feed_forward: FeedForward, sequence: Tensor) -> Tensor:
    return feed_forward(feed_forward(sequence))


def once(feed_forward: FeedForward, sequence: Tensor) -> Tensor:
    return feed_forward(sequence)


@pytest.mark.parametrize("use", [once, twice])
@pytest.mark.parametrize("input_wants", [False, True])
def test_gradients_with_a_graph_are_those_without(use: Callable[..., Tensor], input_wants: bool) -> None:
    """Where a layer is used twice, nothing may be counted twice; hooks on weights run once."""
    layer, sequence = network(), random(2, 64, 32).requires_grad_(input_wants)
    calls: list[Tensor] = []
    layer.input_layer.weight.register_hook(calls.append)
    wanted = [*layer.parameters(), *[sequence] * input_wants]
    expected = torch.autograd.grad(use(layer, sequence).float().square().sum(), wanted)
    found = torch.autograd.grad(use(layer, sequence).float().square().sum(), wanted, create_graph=True)
    assert len(calls) == 2
    assert all(relative_error(a, b) < 0.01 for a, b in zip(found, expected, strict=True))


def test_tangents_of_weights_are_not_lost() -> None:
    layer, sequence = network(), random(2, 64, 32)
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}
    with forward_ad.dual_level():
        name = "input_layer.weight"
        weights[name] = forward_ad.make_dual(weights[name], random(64, 32, seed=1))
        found = forward_ad.unpack_dual(torch.func.functional_call(layer, weights, (sequence,))).tangent
    assert found is not None
    assert found.any()


def test_dropout_drops() -> None:
    layer, sequence = FeedForward(32, 64, dropout=0.5).bfloat16(), random(2, 64, 32)
    assert not torch.equal(layer(sequence), layer(sequence))
    layer.eval()
    assert torch.equal(layer(sequence), layer(sequence))
