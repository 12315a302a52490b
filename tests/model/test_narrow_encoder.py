"""A whole encoder in C is Equations 2 and 3, to bfloat16's precision."""

from contextlib import nullcontext

import pytest
import torch
from tests.model.computing import relative_error, threads
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.encoder import Encoder
from vision_transformers.model.feed_forward import SwiGLU
from vision_transformers.model.kernels import narrow_encoder as module
from vision_transformers.model.kernels.narrow_encoder import encode, is_served
from vision_transformers.model.kernels.plain_encoder import PlainEncoder
from vision_transformers.model.low_rank import add_low_rank
from vision_transformers.model.rotary import RotaryPositions

pytestmark = pytest.mark.skipif(
    not module.is_available(torch.bfloat16), reason="needs gcc and AMX: PyTorch computes everything"
)
SIZES = [(1, 1, 32, 32, 2), (3, 17, 64, 96, 4), (41, 50, 128, 64, 8), (5, 65, 192, 384, 12)]
SIZES += [(3, 197, 96, 384, 3)]
"""Images, tokens, the width of a token and between the layers, and heads."""
with_each_type = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
"""Of tokens: those in float32 come with weights in float32, under autocast."""


@pytest.fixture(autouse=True)
def _however_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_TOKENS", 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def new_encoder(width: int = 32, hidden: int = 64, heads: int = 4) -> Encoder:
    """With weights and biases that make a difference."""
    torch.manual_seed(0)
    encoder = Encoder(width, hidden, heads)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


def autocast(dtype: torch.dtype) -> torch.autocast | nullcontext[None]:
    return torch.autocast("cpu", torch.bfloat16) if dtype == torch.float32 else nullcontext()


def with_gradients(encoder: Encoder, sequence: Tensor, *, in_c: bool) -> list[Tensor]:
    sequence = sequence.clone().requires_grad_()
    with autocast(sequence.dtype), pytest.MonkeyPatch.context() as patch:
        assert not in_c or is_served(sequence, encoder)
        if not in_c:
            patch.setattr(module, "is_served", lambda *_: False)
        out = encoder(sequence)[0]
    direction = random(*out.shape, seed=5).bfloat16().to(out.dtype)
    return [out, *torch.autograd.grad(out, [sequence, *encoder.parameters()], direction)]


@with_each_type
@pytest.mark.parametrize("sizes", SIZES)
def test_it_and_its_gradients_are_as_near_to_the_truth_as_pytorch_is(
    sizes: tuple[int, int, int, int, int], dtype: torch.dtype
) -> None:
    images, tokens, width, hidden, heads = sizes
    encoder = new_encoder(width, hidden, heads).to(dtype)
    sequence = random(images, tokens, width).to(dtype)
    ours, theirs = (with_gradients(encoder, sequence, in_c=in_c) for in_c in (True, False))
    truths = with_gradients(encoder.double(), sequence.double(), in_c=False)
    for found, expected, truth in zip(ours, theirs, truths, strict=True):
        assert found.dtype == expected.dtype == dtype
        if truth.norm() > 1e-9:  # with one token, queries and keys have no gradients
            assert relative_error(found, truth) <= max(1.3 * relative_error(expected, truth), 0.008)


@with_each_type
def test_the_number_of_threads_changes_no_token(dtype: torch.dtype) -> None:
    """And gradients by what float32 rounds: they are added up in another order."""
    encoder, sequence = new_encoder().to(dtype), random(23, 17, 32).to(dtype)
    with threads(1):
        alone = with_gradients(encoder, sequence, in_c=True)
    for number in (2, 3, 7):
        with threads(number):
            found = with_gradients(encoder, sequence, in_c=True)
        assert torch.equal(found[0], alone[0])
        assert torch.equal(found[1], alone[1])
        assert all(relative_error(a, b.double()) < 0.003 for a, b in zip(found[2:], alone[2:], strict=True))


@with_each_type
def test_the_same_again_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    """Else no run could be resumed exactly."""
    encoder, sequence = new_encoder(64, 96).to(dtype), random(23, 50, 64).to(dtype)
    first = with_gradients(encoder, sequence, in_c=True)
    for _ in range(20):
        again = with_gradients(encoder, sequence, in_c=True)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@with_each_type
def test_without_learning_it_is_the_same(dtype: torch.dtype) -> None:
    encoder, sequence = new_encoder().to(dtype), random(30, 17, 32).to(dtype)
    expected = with_gradients(encoder, sequence, in_c=True)[0]
    with torch.no_grad(), autocast(dtype):
        assert torch.equal(encode(sequence, encoder), expected)


def test_what_is_not_a_number_stays_in_its_image() -> None:
    encoder, sequence = new_encoder().bfloat16(), random(11, 17, 32).bfloat16()
    with torch.no_grad():
        usual = encode(sequence, encoder)
        sequence[5, 3, 7] = torch.nan
        found = encode(sequence, encoder)
        assert found[5].isnan().all()
        found[5] = usual[5]
        assert torch.equal(found, usual)
        assert torch.equal(encode(sequence[6:], encoder), usual[6:])  # nothing of it is left behind


@with_each_type
def test_no_images_teach_nothing(dtype: torch.dtype) -> None:
    out, sequence, *weights = with_gradients(new_encoder().to(dtype), random(0, 17, 32).to(dtype), in_c=True)
    assert out.shape == sequence.shape == (0, 17, 32)
    assert not any(gradient.any() for gradient in weights)


def test_however_its_tensors_lie_in_memory_it_is_the_same() -> None:
    encoder, sequence = new_encoder().bfloat16(), random(7, 17, 32).bfloat16()
    expected = with_gradients(encoder, sequence, in_c=True)
    scattered = sequence.transpose(0, 2).contiguous().transpose(0, 2)
    layer = encoder.attention.query_key_value
    layer.weight = nn.Parameter(layer.weight.t().contiguous().t())
    for found, wanted in zip(with_gradients(encoder, scattered, in_c=True), expected, strict=True):
        assert torch.equal(found, wanted)


def given(encoder: Encoder, sequence: Tensor) -> list[Tensor | int | float | bool]:
    """What the operator takes."""
    of_encoder = zip(PlainEncoder.of(encoder).weights(), module._TYPES, strict=True)
    weights = [weight.detach().to(dtype, copy=True) for weight, dtype in of_encoder]
    return [tensor.requires_grad_() for tensor in (sequence, *weights)] + [4, 1e-6, 1e-6, True]


@with_each_type
def test_it_is_an_operator_that_pytorch_can_check(dtype: torch.dtype) -> None:
    arguments = given(new_encoder(), random(3, 17, 32).to(dtype))
    torch.library.opcheck(torch.ops.vision_transformers.narrow_encoder.default, tuple(arguments))


def test_another_type_or_shape_is_refused() -> None:
    """It would be read as if it were another one, or beyond its memory."""
    operator = torch.ops.vision_transformers.narrow_encoder.default
    arguments = given(new_encoder(), random(3, 17, 32).bfloat16())

    def changed(number: int, value: Tensor | int) -> list[Tensor | int | float | bool]:
        return [*arguments[:number], value, *arguments[number + 1 :]]

    sequence = arguments[0]
    assert isinstance(sequence, Tensor)
    for number, value, said in (
        (0, sequence.double(), "float64 is not computed"),
        (0, sequence[..., :24], "not 24, 64 and 4 heads"),
        (0, sequence[0], r"not \(17, 32\)"),
        (0, sequence[:, :0], r"not \(3, 0, 32\)"),
        (1, torch.ones(32).bfloat16(), r"expected torch.float32 of the shape \(32,\)"),
        (5, torch.ones(64, 32).bfloat16(), r"expected torch.bfloat16 of the shape \(96, 32\)"),
        (13, 3, "and 3 heads"),
        (13, 0, "and 0 heads"),
    ):
        with pytest.raises(ValueError, match=said):
            operator(*changed(number, value))
    out, *kept = operator(*arguments)
    backward = torch.ops.vision_transformers.narrow_encoder_backward.default
    with pytest.raises(ValueError, match=r"of the shape \(3, 17, 32\)"):
        backward(out[:2], *kept, *arguments[:-1])
    with pytest.raises(ValueError, match=r"of the shape \(3, 17, 96\)"):
        backward(out, kept[1], *kept[1:], *arguments[:-1])


def test_pytorch_counts_its_operations() -> None:
    encoder, sequence = new_encoder().bfloat16(), random(3, 17, 32).bfloat16()
    with FlopCounterMode(display=False) as counter:
        encoder(sequence)[0].float().sum().backward()
    of_tokens = 3 * 17 * (4 * 32 * 32 + 2 * 32 * 64 + 2 * 17 * 32)
    assert counter.get_total_flops() == 3 * 2 * of_tokens


def changed_encoders() -> dict[str, Encoder]:
    """Those that are more, or something else, than Equations 2 and 3 with biases and GELU."""
    found = {
        "dropout": Encoder(32, 64, 4, dropout=0.1),
        "layer scale": Encoder(32, 64, 4, layer_scale=0.1),
        "stochastic depth": Encoder(32, 64, 4, stochastic_depth=0.1),
        "SwiGLU": Encoder(32, 64, 4, feed_forward=SwiGLU(32, 64)),
        "no bias of keys": Encoder(32, 64, 4, attention=MultiHeadAttention(32, 4, key_bias=False)),
        "no biases": Encoder(
            32, 64, 4, attention=MultiHeadAttention(32, 4, query_bias=False, key_bias=False, value_bias=False)
        ),
        "normalised queries": Encoder(
            32, 64, 4, attention=MultiHeadAttention(32, 4, query_key_normalization=True)
        ),
        "wider attention": Encoder(32, 64, 4, attention=MultiHeadAttention(32, 4, attention_dimension=64)),
        "no projection": Encoder(32, 64, 4, attention=MultiHeadAttention(32, 4, projection=False)),
        "odd width": Encoder(48, 64, 4),
    }
    for name in ("approximate", "hook", "frozen", "low rank", "another norm"):
        found[name] = Encoder(32, 64, 4)
    found["approximate"].feed_forward.activation = nn.GELU("tanh")
    found["hook"].attention.projection.register_forward_hook(lambda *_: None)
    found["frozen"].attention.projection.weight.requires_grad_(requires_grad=False)
    add_low_rank(nn.ModuleList([found["low rank"]]), LowRankConfig(rank=2))
    found["another norm"].attention_normalization = nn.LayerNorm(32)
    return found


@pytest.mark.parametrize("name", list(changed_encoders()))
def test_whatever_else_an_encoder_does_is_not_passed_over(name: str) -> None:
    encoder = changed_encoders()[name].bfloat16()
    width = encoder.attention_normalization.normalized_shape[0]
    sequence = random(3, 17, width).bfloat16()
    assert not is_served(sequence, encoder)
    assert encoder(sequence)[0].shape == sequence.shape


def test_what_is_asked_of_a_usual_encoder_is_given() -> None:
    """Weights, rotations and few queries."""
    encoder, sequence = new_encoder().bfloat16(), random(3, 17, 32).bfloat16()
    weights = encoder(sequence, need_weights=True)[1]
    assert weights is not None
    assert weights.shape == (3, 4, 17, 17)
    assert encoder(sequence, number_of_queries=1)[0].shape == (3, 1, 32)
    rotation = RotaryPositions(8)((4, 4), torch.device("cpu"))
    assert not torch.equal(encoder(sequence, rotation=rotation)[0], encoder(sequence)[0])


def test_only_what_it_can_do_faster_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sequence = new_encoder().bfloat16(), random(3, 17, 32).bfloat16()
    assert is_served(sequence, encoder)
    assert not is_served(sequence.float(), encoder.float())
    assert not is_served(random(1, 258, 32).bfloat16(), encoder.bfloat16())
    assert not is_served(random(3, 17, 384).bfloat16(), Encoder(384, 1536, 6).bfloat16())
    for parameter in encoder.parameters():
        parameter.requires_grad_(requires_grad=False)
    assert is_served(sequence, encoder)
    assert not is_served(sequence.requires_grad_(), encoder)
    monkeypatch.setattr(module, "LEAST_TOKENS", 3 * 17 + 1)
    assert not is_served(sequence, new_encoder().bfloat16())


def test_dropout_is_asked_where_it_drops() -> None:
    """Some are switched on again by themselves, to see how sure a model is."""
    encoder, sequence = Encoder(32, 64, 4, dropout=0.1).bfloat16(), random(3, 17, 32).bfloat16()
    assert not is_served(sequence, encoder)
    assert is_served(sequence, encoder.eval())
    for part in (encoder.attention, encoder.feed_forward.dropout):
        assert isinstance(part, nn.Module)
        part.train()
        assert not is_served(sequence, encoder)
        part.eval()
    encoder.train()
    encoder.feed_forward.dropout = nn.Identity()
    assert not is_served(sequence, encoder)
