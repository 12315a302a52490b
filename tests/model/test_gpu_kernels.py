"""Kernels for GPUs compute Equation 7 and GELU: on such a GPU, or else in Triton's interpreter."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import torch.nn.functional as F
from tests.model.computing import relative_error
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.model.encoder import Encoder
from vision_transformers.model.kernels import biased_gelu, packed_attention
from vision_transformers.model.kernels.operators import is_triton_available

PROGRAMS = Path(__file__).parent.parent / "programs"
MOST_SHARED_MEMORY = 227 * 1024
"""Of an H100 or H200, in bytes."""
CUDA = torch.device("cuda")
IS_HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
HAS_GPU = torch.cuda.is_available() and is_triton_available(CUDA)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="there is no GPU of the kind that the kernels are for")
needs_none = pytest.mark.skipif(
    HAS_GPU or find_spec("triton") is None,
    reason="the kernels run on the GPU that is here, or there is no Triton, which PyTorch for CUDA brings",
)


@pytest.mark.skipif(not IS_HOPPER, reason="there is no H100 or H200")
def test_on_the_gpus_that_they_are_for_they_are_there() -> None:
    """Else the tests below would be skipped, and training be slower, where Triton finds no compiler."""
    assert HAS_GPU


@needs_none
def test_in_tritons_interpreter_they_are_right_up_to_rounding() -> None:
    assert float(printed_by("gpu_kernels_on_cpu.py")) < 1


@needs_none
def test_they_compile_and_fit_into_the_gpus_they_are_for() -> None:
    assert int(printed_by("compile_gpu_kernels.py")) <= MOST_SHARED_MEMORY


def printed_by(program: str) -> str:
    command = [sys.executable, str(PROGRAMS / program)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "only 0-dimensional arrays can be converted" in ran.stderr:
        pytest.skip("this Triton's interpreter is older than this NumPy")
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def random(*shape: int) -> Tensor:
    return torch.randn(shape, device=CUDA).bfloat16()


def written_out(product: Tensor) -> Tensor:
    queries, keys, values = (part.transpose(1, 2) for part in product.unbind(2))
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)


@needs_gpu
@pytest.mark.parametrize(
    ("width", "tokens", "heads"),
    [
        *((width, tokens, 4) for width in (16, 32, 64) for tokens in (1, 2, 16, 17, 32, 33, 50, 64)),
        *((width, tokens, 4) for width in (16, 32, 64) for tokens in (65, 81, 90, 97, 113, 128)),
        *(
            (64, tokens, 4)
            for tokens in (129, 144, 145, 161, 170, 192, 193, 196, 197, 201, 210, 226, 255, 256)
        ),
        *((16, 50, 1), (64, 197, 1)),
    ],
)
def test_attention_and_its_gradients_are_those_of_equation_7(width: int, tokens: int, heads: int) -> None:
    """Of each way to cut the tokens: each is a program of its own."""
    torch.manual_seed(0)
    product, bias = random(37, tokens, 3, heads, width), random(3 * heads * width)
    gradient = random(37, heads, tokens, width).transpose(1, 2)  # laid out otherwise
    exactly = product.double().requires_grad_()
    given = [given.requires_grad_() for given in (product, bias)]
    truth = written_out(exactly)
    found = packed_attention.packed_attention(given[0], given[1])[0]
    assert relative_error(found, truth) < 0.005
    (of_product,) = torch.autograd.grad(truth, exactly, gradient.double())
    true_sums = of_product.sum((0, 1))
    for _ in range(3):  # a race between warps is seen in some runs only
        gradients = torch.autograd.grad(found, given, gradient, retain_graph=True)
        of_queries, of_keys, of_values = gradients[1].unflatten(0, (3, heads, width))
        assert relative_error(gradients[0], of_product) < 0.006
        assert relative_error(of_values, true_sums[2]) < 0.01
        assert not of_keys.any()
        if tokens > 1:  # else scores have no gradient
            assert relative_error(of_queries, true_sums[0]) < 0.01


@needs_gpu
@pytest.mark.parametrize("shape", [(1, 1, 16), (3, 7, 24), (5, 197, 1536), (4096, 50, 64), (40, 200, 4096)])
def test_gelu_and_its_gradients_are_those_of_float64(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    product, bias, gradient = 3 * random(*shape), random(shape[-1]), random(*shape)
    exactly = [given.double().requires_grad_() for given in (product, bias)]
    given = [given.requires_grad_() for given in (product, bias)]
    truth = F.gelu(exactly[0] + exactly[1])
    found = biased_gelu.biased_gelu(given[0], given[1])
    true_gradients = torch.autograd.grad(truth, exactly, gradient.double())
    gradients = torch.autograd.grad(found, given, gradient)
    assert relative_error(found, truth) < 0.003
    assert relative_error(gradients[0], true_gradients[0]) < 0.003
    assert relative_error(gradients[1], true_gradients[1]) < 0.01


@needs_gpu
def test_operators_keep_pytorchs_rules() -> None:
    """`torch.compile` relies on them."""
    product, bias = random(2, 50, 3, 4, 16).requires_grad_(), random(192).requires_grad_()
    of_gelu = random(2, 50, 64).requires_grad_(), random(64).requires_grad_()
    for operator, given in (
        (packed_attention.packed_attention, (product, bias)),
        (biased_gelu.biased_gelu, of_gelu),
    ):
        torch.library.opcheck(
            operator, given, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
        )


@needs_gpu
def test_a_compiled_model_calls_them() -> None:
    """PyTorch 2.11 once kept them out of compiled models, and only the clock knew."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    printed_by("compile_gpu_operators.py")


@needs_gpu
def test_a_gradient_of_a_gradient_is_the_one_that_pytorch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder = Encoder(64, 96, 4).to(CUDA).bfloat16()
    torch.nn.init.normal_(encoder.attention.query_key_value.bias)
    sequence = random(2, 17, 64).requires_grad_()
    attend = MagicMock(wraps=packed_attention.attend)
    monkeypatch.setattr(packed_attention, "attend", attend)
    found = second_gradients(encoder, sequence)
    attend.assert_called_once()
    for module in (packed_attention, biased_gelu):
        monkeypatch.setattr(module, "is_served", lambda *_: False)
    with sdpa_kernel(SDPBackend.MATH):  # of the others, PyTorch has no second gradients
        expected = second_gradients(encoder, sequence)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs.double()) < 0.1


def second_gradients(encoder: Encoder, sequence: Tensor) -> tuple[Tensor, ...]:
    (gradient,) = torch.autograd.grad(encoder(sequence)[0].sum(), sequence, create_graph=True)
    learned = (sequence, encoder.attention.query_key_value.bias, encoder.attention.query_key_value.weight)
    return torch.autograd.grad(gradient.float().square().sum(), learned)


@needs_gpu
@pytest.mark.parametrize("in_autocast", [False, True])
def test_a_block_is_the_same_with_and_without_them(
    in_autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output, and the gradients of all its weights."""
    torch.manual_seed(0)
    encoder = Encoder(128, 256, 4).to(CUDA)
    sequence = torch.randn(8, 50, 128, device=CUDA)
    for bias in (encoder.attention.query_key_value.bias, encoder.feed_forward.input_layer.bias):
        torch.nn.init.normal_(bias)
    if not in_autocast:
        encoder, sequence = encoder.bfloat16(), sequence.bfloat16()
    attend = MagicMock(wraps=packed_attention.attend)
    activate = MagicMock(wraps=biased_gelu.activate)
    monkeypatch.setattr(packed_attention, "attend", attend)
    monkeypatch.setattr(biased_gelu, "activate", activate)
    found = [results(encoder, sequence, in_autocast)]
    attend.assert_called_once()
    activate.assert_called_once()
    for module in (packed_attention, biased_gelu):
        monkeypatch.setattr(module, "is_served", lambda *_: False)
    found.append(results(encoder, sequence, in_autocast))
    for ours, theirs in zip(*found, strict=True):
        assert relative_error(ours, theirs.double()) < 0.05


def results(encoder: Encoder, sequence: Tensor, in_autocast: bool) -> list[Tensor]:
    with torch.autocast("cuda", torch.bfloat16, enabled=in_autocast):
        output = encoder(sequence)[0]
    parameters = dict(encoder.named_parameters())
    gradients = torch.autograd.grad(output.float().square().sum(), list(parameters.values()))
    by_name = dict(zip(parameters, gradients, strict=True))
    of_queries, of_keys, of_values = by_name.pop("attention.query_key_value.bias").chunk(3)
    assert of_keys.norm() < 0.05 * of_queries.norm()  # but for rounding it is zero
    return [output, of_queries, of_values, *by_name.values()]
