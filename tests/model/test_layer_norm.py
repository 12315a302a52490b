"""LayerNorm in C is PyTorch's, rounded as a linear layer would round it."""

import pytest
import torch
import torch.nn.functional as F
from tests.model.computing import relative_error
from torch import Tensor, nn

from vision_transformers.model.encoder import Encoder
from vision_transformers.model.kernels import layer_norm as module
from vision_transformers.model.kernels.layer_norm import is_served, layer_norm, layer_norm_backward
from vision_transformers.model.normalization import LayerNorm
from vision_transformers.model.stem import ConvolutionalStem

pytestmark = pytest.mark.skipif(
    not module.is_available(torch.bfloat16), reason="needs gcc and AVX512_BF16: PyTorch computes everything"
)
EPSILON = 1e-6
with_each_type = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)


@pytest.fixture(autouse=True)
def _however_few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_NUMBERS", 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def given(dtype: torch.dtype, *shape: int) -> list[Tensor]:
    """What the operator takes: tokens far from zero, of many sizes, and weights."""
    tokens = (random(*shape) * 3 + random(*shape[:-1], 1, seed=1) * 5).to(dtype)
    weights = (random(shape[-1], seed=2), random(shape[-1], seed=3))
    return [tensor.requires_grad_() for tensor in (tokens, *weights)]


def of_pytorch(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(tokens, weight.shape, weight.to(tokens.dtype), bias.to(tokens.dtype), EPSILON)


def in_c(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return layer_norm(tokens, weight, bias, EPSILON)[0]


def with_gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [out, *torch.autograd.grad(out, inputs, random(*out.shape, seed=4).to(out.dtype))]


@with_each_type
@pytest.mark.parametrize("shape", [(1, 16), (3, 48), (5, 7, 128), (2, 197, 384), (1001, 64)])
def test_it_and_its_gradients_are_right_but_for_rounding(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = given(dtype, *shape)
    exactly = [tensor.detach().double().requires_grad_() for tensor in inputs]
    direction = random(*shape, seed=4).bfloat16().double()  # as with_gradients gives it to the operator
    truth = of_pytorch(*exactly)
    truths = [truth, *torch.autograd.grad(truth, exactly, direction)]
    for found, expected in zip(with_gradients(in_c(*inputs), inputs), truths, strict=True):
        assert relative_error(found, expected) < (0.003 if found.dtype == torch.bfloat16 else 1e-5)


@with_each_type
def test_all_types_are_those_that_a_linear_layer_and_autograd_expect(dtype: torch.dtype) -> None:
    inputs = given(dtype, 6, 32)
    out, *gradients = with_gradients(in_c(*inputs), inputs)
    assert out.dtype == torch.bfloat16
    assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32, torch.float32]


def test_under_autocast_a_block_gives_what_it_gave() -> None:
    """Its linear layers round what comes out of PyTorch's LayerNorm, too."""
    torch.manual_seed(0)
    encoder, sequence = Encoder(32, 64, 4), random(2, 17, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert is_served(sequence, encoder.attention_normalization)
        found = encoder(sequence)[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "is_served", lambda *_: False)
            expected = encoder(sequence)[0]
    assert found.dtype == expected.dtype == torch.float32
    assert relative_error(found, expected.double()) < 0.001


def test_under_autocast_a_stem_gives_nearly_what_it_gave() -> None:
    """Its GELU is given rounded numbers, where PyTorch's LayerNorm has it compute in float32."""
    torch.manual_seed(0)
    stem, images = ConvolutionalStem(64, (4, 4), 3), random(5, 3, 16, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = stem(images)
        assert stem.convolutions[:2](images).dtype == torch.bfloat16, (
            "by C: PyTorch's LayerNorm gives float32"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "is_served", lambda *_: False)
            expected = stem(images)
    assert found.dtype == expected.dtype == torch.bfloat16
    truth = stem(images)
    assert relative_error(found, truth.double()) < 1.2 * relative_error(expected, truth.double())


def test_a_token_far_from_zero_is_normalised_by_what_varies() -> None:
    """The square of the mean less the mean of squares would be rounded away."""
    tokens = 1000 + random(4, 64) * 0.01
    one, nothing = torch.ones(64), torch.zeros(64)
    found = in_c(tokens, one, nothing)
    assert relative_error(found, of_pytorch(tokens.double(), one.double(), nothing.double())) < 0.01


def test_what_is_not_a_number_stays_in_its_token() -> None:
    inputs = [tensor.detach() for tensor in given(torch.float32, 9, 32)]
    usual = in_c(*inputs)
    inputs[0][5, 3] = torch.nan
    found = in_c(*inputs)
    assert found[5].isnan().all()
    found[5] = usual[5]
    assert torch.equal(found, usual)


@with_each_type
def test_the_same_again_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    """Else no run could be resumed exactly: gradients of weights are added up by several threads."""
    inputs = given(dtype, 1001, 64)
    first = with_gradients(in_c(*inputs), inputs)
    for _ in range(20):
        again = with_gradients(in_c(*inputs), inputs)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@with_each_type
def test_no_tokens_teach_nothing(dtype: torch.dtype) -> None:
    inputs = given(dtype, 0, 32)
    out, tokens, *weights = with_gradients(in_c(*inputs), inputs)
    assert out.shape == tokens.shape == (0, 32)
    assert not any(gradient.any() for gradient in weights)


def test_however_its_tensors_lie_in_memory_it_is_the_same() -> None:
    tokens, weight, bias = given(torch.bfloat16, 40, 32)
    expected = in_c(tokens, weight, bias)
    assert torch.equal(in_c(tokens.t().contiguous().t(), weight, bias), expected)
    assert torch.equal(in_c(F.pad(tokens, (3, 5))[:, 3:35], weight, bias), expected)
    shifted = F.pad(tokens.flatten(), (1, 0))[1:].view(40, 32)  # contiguous, but not where memory begins
    assert torch.equal(in_c(shifted, F.pad(weight, (1, 0))[1:], bias), expected)


def test_another_type_or_shape_is_refused() -> None:
    """It would be read as if it were another one, or beyond its memory."""
    tokens, weight, bias = (tensor.detach() for tensor in given(torch.bfloat16, 4, 32))
    with pytest.raises(ValueError, match=r"float64 is not computed"):
        in_c(tokens.double(), weight, bias)
    for width in (0, 24):
        with pytest.raises(ValueError, match=f"not of {width}"):
            in_c(tokens[:, :width], weight[:width], bias[:width])
    with pytest.raises(ValueError, match=r"expected torch.float32 of the shape \(32,\)"):
        in_c(tokens, weight.bfloat16(), bias)
    statistics = layer_norm(tokens, weight, bias, EPSILON)[1]
    with pytest.raises(ValueError, match=r"expected torch.float32 of the shape \(4, 2\), not .* of \(3, 2\)"):
        layer_norm_backward(tokens, tokens, statistics[:3], weight)
    with pytest.raises(ValueError, match=r"expected torch.bfloat16 of the shape \(4, 32\)"):
        layer_norm_backward(tokens.float(), tokens, statistics, weight)


@with_each_type
def test_it_is_an_operator_that_pytorch_can_check(dtype: torch.dtype) -> None:
    arguments = (*given(dtype, 5, 32), EPSILON)
    torch.library.opcheck(torch.ops.vision_transformers.layer_norm.default, arguments)


def test_only_what_it_can_do_faster_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random(4, 32)
    assert is_served(tokens.bfloat16(), LayerNorm(32).bfloat16())
    assert not is_served(tokens, LayerNorm(32))
    assert not is_served(random(4, 24).bfloat16(), LayerNorm(24).bfloat16())
    assert not is_served(tokens.bfloat16(), LayerNorm(32, bias=False).bfloat16())
    assert not is_served(tokens.bfloat16(), LayerNorm(32, elementwise_affine=False))
    assert not is_served(tokens.bfloat16(), LayerNorm((4, 32)).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert is_served(tokens, LayerNorm(32))
        assert not is_served(tokens.double(), LayerNorm(32).double())
    with torch.autocast("cpu", torch.float16):
        assert not is_served(tokens, LayerNorm(32))
    monkeypatch.setattr(module, "LEAST_NUMBERS", 129)
    assert not is_served(tokens.bfloat16(), LayerNorm(32).bfloat16())


def test_a_layer_gives_a_vector_for_a_vector() -> None:
    layer: nn.LayerNorm = LayerNorm(32).bfloat16()
    assert layer(random(32).bfloat16()).shape == (32,)
