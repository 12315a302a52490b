"""What is computed in C touches no other memory; whatever PyTorch does with a layer works as without it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from vision_transformers.model.encoder import Encoder
from vision_transformers.model.kernels import (
    layer_norm,
    narrow_encoder,
    narrow_feed_forward,
    short_attention,
    tiled_linear,
    token_means,
)
from vision_transformers.model.kernels.operators import is_computed_here

PROGRAMS = Path(__file__).parent.parent / "programs"
MODULES = (
    short_attention,
    narrow_feed_forward,
    layer_norm,
    tiled_linear,
    token_means,
    narrow_encoder,
)
DTYPES = [dtype for dtype in short_attention.MULTIPLES if short_attention.is_available(dtype)]
"""Whose attention is computed in C here."""
needs_c = pytest.mark.skipif(
    not DTYPES, reason="needs gcc, and AVX512_BF16 or AVX2: PyTorch computes everything"
)
with_each_dtype = pytest.mark.parametrize("dtype", DTYPES or [pytest.param(None, marks=needs_c)], ids=str)
needs_bfloat16 = pytest.mark.skipif(
    not narrow_feed_forward.is_available(), reason="PyTorch computes feed-forward networks here"
)
ERROR = {torch.bfloat16: 0.03, torch.float32: 1e-5}


@pytest.mark.parametrize(
    ("source", "program"),
    [
        (program.source, f"{module.__name__.rsplit('.', 1)[1]}_bounds.c")
        for module in MODULES
        for program in module.PROGRAMS
        if replace(program, superseded_by=None).is_available()
    ]
    or [pytest.param(None, None, marks=needs_c)],
    ids=lambda given: Path(given or "nothing").stem,
)
def test_no_byte_beside_its_tensors_is_touched(source: Path, program: str, tmp_path: Path) -> None:
    """In Python nobody would see it: the memory of other tensors would change."""
    compiler = shutil.which("gcc")
    assert compiler is not None
    flags = ["-O1", "-g", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize=alignment"]
    built = tmp_path / "bounds"
    defined = [f'-DSOURCE="{source}"', "-D_GNU_SOURCE", "-fopenmp"]
    command = [compiler, *flags, *defined, str(PROGRAMS / program), "-o", str(built), "-lm"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in compiled.stderr:
        pytest.skip("this compiler comes without sanitizers")
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run([str(built)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert not ran.stderr


@pytest.fixture(autouse=True)
def _however_little_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too little to be worth the way into C would be left to PyTorch."""
    monkeypatch.setattr(layer_norm, "LEAST_NUMBERS", 0)
    monkeypatch.setattr(tiled_linear, "LEAST_TOKENS", 0)
    monkeypatch.setattr(tiled_linear, "LEAST_MULTIPLICATIONS", 0)


@pytest.fixture(params=["by its parts", "whole"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In which an encoder is computed in C, where both are to be had."""
    if request.param == "whole":
        monkeypatch.setattr(narrow_encoder, "LEAST_TOKENS", 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(dtype: torch.dtype) -> tuple[Encoder, Tensor]:
    """One that is computed in C where the machine can: its attention, and in bfloat16 all of it."""
    torch.manual_seed(0)
    return Encoder(32, 64, 4).to(dtype), random(2, 17, 32).to(dtype)


def of_weights(encoder: Encoder) -> Any:
    """The block's first result as a function of its weights and its input."""

    def run(weights: dict[str, Tensor], sequence: Tensor) -> Tensor:
        result: tuple[Tensor, None] = torch.func.functional_call(encoder, weights, (sequence,))
        return result[0]

    return run


@contextmanager
def without_c() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "is_served", lambda *_: False)
        yield


def gradients(encoder: Encoder, sequence: Tensor) -> Tensor:
    found = torch.autograd.grad(encoder(sequence)[0].float().square().sum(), list(encoder.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])


def penalty(encoder: Encoder, sequence: Tensor) -> Tensor:
    """The gradient of a gradient's size, with respect to the weights."""
    sequence = sequence.clone().requires_grad_()
    size = encoder(sequence)[0].float().square().sum()
    (gradient,) = torch.autograd.grad(size, sequence, create_graph=True)
    weights = [encoder.attention.query_key_value.weight, encoder.feed_forward.input_layer.weight]
    found = torch.autograd.grad(gradient.float().square().sum(), weights)
    return torch.cat([gradient.flatten() for gradient in found])


def tangent(encoder: Encoder, sequence: Tensor) -> Tensor:
    run = partial(of_weights(encoder), dict(encoder.named_parameters()))
    return torch.func.jvp(run, (sequence,), (random(*sequence.shape, seed=1).to(sequence.dtype),))[1]


def dual(encoder: Encoder, sequence: Tensor) -> Tensor:
    with forward_ad.dual_level():
        made = forward_ad.make_dual(sequence, random(*sequence.shape, seed=1).to(sequence.dtype))
        found: Tensor | None = forward_ad.unpack_dual(encoder(made)[0]).tangent
    assert found is not None
    return found


def of_each_sample(encoder: Encoder, sequence: Tensor) -> Tensor:
    run = of_weights(encoder)

    def loss(weights: dict[str, Tensor], one: Tensor) -> Tensor:
        return run(weights, one[None]).float().square().sum()

    weights = {name: value.detach() for name, value in encoder.named_parameters()}
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, sequence)
    return torch.cat([found[name].flatten() for name in sorted(found)])


def jacobian(encoder: Encoder, sequence: Tensor) -> Tensor:
    """Of some of the numbers, all gradients in one call."""
    sequence = sequence.clone().requires_grad_()
    numbers = encoder(sequence)[0][0, 0]
    directions = torch.eye(len(numbers), dtype=numbers.dtype)
    return torch.autograd.grad(numbers, sequence, directions, is_grads_batched=True)[0]


@with_each_dtype
def test_what_can_be_computed_in_c_is(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sequence = block(dtype)
    seen: list[str] = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, arguments: Any = (), options: Any = None
        ) -> Any:
            seen.append(str(function))
            return function(*arguments, **(options or {}))

    with Seen():
        gradients(encoder, sequence)
    names = ["short_attention"]
    if dtype == torch.bfloat16 and narrow_feed_forward.is_available():
        names += ["narrow_feed_forward", "layer_norm"]
    if dtype == torch.bfloat16 and tiled_linear.is_available():
        names.append("tiled_linear")
    expect(seen, names)
    if dtype == torch.bfloat16 and narrow_encoder.is_available(dtype):
        seen.clear()
        monkeypatch.setattr(narrow_encoder, "LEAST_TOKENS", 0)
        with Seen():
            gradients(encoder, sequence)
        expect(seen, ["narrow_encoder"])


def expect(seen: list[str], names: list[str]) -> None:
    """These of our operators, forward and backward, and no others."""
    expected = {f"vision_transformers.{name}{way}.default" for name in names for way in ("", "_backward")}
    assert {name for name in seen if name.startswith("vision_transformers")} == expected


@with_each_dtype
@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("way", [gradients, jacobian, penalty, tangent, dual, of_each_sample])
def test_whatever_is_differentiated_is_as_without_it(way: Callable[..., Tensor], dtype: torch.dtype) -> None:
    encoder, sequence = block(dtype)
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's other ways have gradients alone
        found = way(encoder, sequence)
        with without_c():
            expected = way(encoder, sequence)
    assert expected.float().norm() > 0
    assert (found - expected).double().norm() < ERROR[dtype] * expected.double().norm()


COMPILED = """
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from vision_transformers.model.encoder import Encoder

torch.manual_seed(0)
encoder, sequence = Encoder(32, 64, 4).to({dtype}), torch.randn(2, 17, 32).to({dtype})
transformed = torch.func.grad(lambda sequence: encoder(sequence)[0].float().square().sum())
with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fused attention in float32 cannot be transformed so
    found = torch.compile(transformed, fullgraph=True, backend="aot_eager")(sequence)
    expected = transformed(sequence)
assert torch.allclose(found, expected, atol={error})
"""


@with_each_dtype
def test_a_compiled_transformation_is_left_to_pytorch(dtype: torch.dtype) -> None:
    """In a process of its own: the checks of types in tests cannot be compiled."""
    program = COMPILED.format(dtype=dtype, error=ERROR[dtype])
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


class Stop(torch.autograd.Function):
    """Passes a tensor on, and no gradient back."""

    @staticmethod
    def forward(ctx: Any, sequence: Tensor) -> Tensor:  # noqa: ARG004
        return sequence.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> None:  # type: ignore[override]  # noqa: ARG004
        return None


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_where_no_gradient_comes_back_there_is_none(dtype: torch.dtype) -> None:
    encoder, sequence = block(dtype)
    Stop.apply(encoder(sequence)[0]).sum().backward()
    layers = (encoder.feed_forward.input_layer, encoder.attention.query_key_value)
    assert all(layer.weight.grad is None or not layer.weight.grad.any() for layer in layers)


@with_each_dtype
@pytest.mark.usefixtures("_way")
def test_an_exported_model_does_not_need_c(dtype: torch.dtype) -> None:
    encoder, sequence = block(dtype)
    program = torch.export.export(encoder.eval(), (sequence,))
    assert "vision_transformers" not in program.graph_module.code
    expected = encoder(sequence)[0]
    assert (program.module()(sequence)[0] - expected).norm() < ERROR[dtype] * expected.norm()


def test_what_is_traced_holds_operators_of_pytorch_alone() -> None:
    """What comes of it is loaded where this package is not."""
    computed_here: list[bool] = []

    def noted(sequence: Tensor) -> Tensor:
        computed_here.append(is_computed_here(sequence))
        return sequence + 1

    torch.jit.trace(noted, random(2, 17, 32), check_trace=False)
    assert computed_here == [False]
    assert is_computed_here(random(2, 17, 32))


@needs_bfloat16
def test_autocast_computes_in_c_as_weights_in_bfloat16_do() -> None:
    """As `vit train --precision bfloat16` does it, whose weights are float32."""
    encoder, sequence = block(torch.bfloat16)
    served = narrow_feed_forward.is_served
    parts = (
        encoder.feed_forward.input_layer,
        encoder.feed_forward.activation,
        encoder.feed_forward.output_layer,
        encoder.feed_forward.dropout,
    )
    expected = encoder.feed_forward(sequence)
    encoder = encoder.float()
    assert not served(sequence.float(), *parts)
    with torch.autocast("cpu", torch.bfloat16):
        assert served(sequence.float(), *parts)
        found = encoder.feed_forward(sequence.float())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("place", "name"),
    [("torch._C", "_are_functorch_transforms_active"), ("torch.compiler", "_is_exporting_flag")],
)
def test_a_pytorch_that_has_dropped_a_name_of_its_own_computes_everything(place: str, name: str) -> None:
    """Not promised to stay, they must not keep every model on every CPU from running."""
    program = (
        "import torch\n"
        f"del {place}.{name}\n"
        "from vision_transformers import ViT\n"
        "from vision_transformers.model.kernels.operators import is_computed_here\n"
        "with torch.no_grad():\n"
        "    print(ViT((7, 7), 16, 1, 2, 24, 1, 10)(torch.rand(2, 1, 28, 28)).isfinite().all().item())\n"
        "print(is_computed_here(torch.ones(1)))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert run.stdout == "True\nFalse\n", run.stderr
