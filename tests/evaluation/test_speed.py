"""The ceiling counts every matrix product once, however attention is computed; speeds are of the median."""

import inspect
import os
from typing import ClassVar

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.evaluation import speed
from vision_transformers.evaluation.matrix_products import matrix_products, operations_of, seconds_of
from vision_transformers.evaluation.speed import Numbers, Work, measure_speed, prepare
from vision_transformers.model.config import Pool
from vision_transformers.model.kernels import narrow_encoder, tiled_linear, token_means
from vision_transformers.model.vit import ViT

SHAPE = (1, 28, 28)


def small() -> ViT:
    return ViT((7, 7), 32, 2, 4, 64, 1, 10)


@pytest.mark.parametrize("extractor", ["linear", "convolutional", "stem"])
@pytest.mark.parametrize("work", ["inference", "training"])
def test_operations_are_those_that_pytorch_counts(extractor: str, work: Work) -> None:
    step = prepare(
        ViT((4, 4), 32, 2, 4, 64, 1, 10, patch_extractor=extractor),
        SHAPE,
        3,
        work,
        "float32",
        compile=False,
        device=torch.device("cpu"),
    )
    # Not all releases of PyTorch count its fused attention, and some count what it computes anew.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    assert operations_of(matrix_products(step)) == counter.get_total_flops()


@pytest.mark.parametrize("whole", [False, True])
def test_the_ceiling_is_the_same_work_in_whatever_way_it_is_computed(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In PyTorch, and in bfloat16 where the machine can in C, layer by layer or encoder by encoder."""
    monkeypatch.setattr(tiled_linear, "LEAST_TOKENS", 0)
    monkeypatch.setattr(tiled_linear, "LEAST_MULTIPLICATIONS", 0)
    monkeypatch.setattr(token_means, "LEAST_NUMBERS", 0)
    monkeypatch.setattr(narrow_encoder, "LEAST_TOKENS", 0 if whole else 10**9)
    cpu = torch.device("cpu")
    fused, written = (
        operations_of(matrix_products(prepare(small(), SHAPE, 3, "training", numbers, False, cpu)))
        for numbers in ("float32", "bfloat16")
    )
    assert fused == written


@pytest.mark.parametrize("numbers", ["float32", "bfloat16", "bfloat16-weights"])
@pytest.mark.parametrize("work", ["inference", "training"])
def test_a_speed_is_of_the_median_batch_and_leaves_the_model_alone(work: Work, numbers: Numbers) -> None:
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    speed = measure_speed(model, SHAPE, 4, work=work, precision=numbers, least_seconds=0.0)
    assert speed.images_per_second == pytest.approx(4 / (speed.milliseconds["p50"] / 1000))
    assert speed.milliseconds["p25"] <= speed.milliseconds["p50"] <= speed.milliseconds["p99"]
    assert speed.share_of_ceiling > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pool", ["class", "mean", "attention"])
def test_a_speed_is_to_be_had_with_every_pool(pool: Pool) -> None:
    model = ViT((7, 7), 32, 2, 4, 64, 1, 10, pool=pool)
    assert measure_speed(model, SHAPE, 4, precision="float32", least_seconds=0.0).share_of_ceiling > 0


def test_teraflops_and_the_share_of_the_ceiling_are_of_the_median_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "seconds_of", lambda _: 0.1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    found = measure_speed(model, (1, 2, 3), 5, least_seconds=0.0)
    seconds = found.milliseconds["p50"] / 1000
    assert found.teraflops == pytest.approx(2 * 5 * 6 * 2 / seconds / 1e12)
    assert found.share_of_ceiling == pytest.approx(0.1 / seconds)


def test_calls_that_warm_up_are_not_timed() -> None:
    calls: list[int] = []
    seconds = speed.timed(lambda: calls.append(0), torch.device("cpu"), 0.0)
    assert 5 <= len(seconds) < len(calls)


class Watched(torch.nn.Linear):
    """Remembers in which modes it was asked."""

    modes: ClassVar[list[bool]] = []

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return super().forward(input.flatten(1))


@pytest.mark.parametrize("work", ["inference", "training"])
def test_a_model_is_timed_in_the_mode_of_its_work_whatever_its_own(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, inference would be slower than it is."""
    monkeypatch.setattr(Watched, "modes", [])
    model = Watched(4, 2).train(work == "inference")
    prepare(model, (1, 1, 4), 3, work, "float32", compile=False, device=torch.device("cpu"))()
    assert Watched.modes == [work == "training"]


class Compiled(torch.nn.Linear):
    """Takes 300 MiB for its first call, as a compiler does."""

    is_compiled = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.is_compiled:
            torch.ones(300 * 2**18)
            self.is_compiled = True
        return super().forward(input)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="a peak cannot be forgotten here")
def test_memory_is_that_of_the_model_and_not_of_its_compiler() -> None:
    needed, with_compiler = (
        measure_speed(kind(4, 2), (1, 1, 4), 2, least_seconds=0.0).memory_mebibytes
        for kind in (torch.nn.Linear, Compiled)
    )
    assert with_compiler < needed + 100


def test_the_tenth_row_is_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch compiles a function for eight sizes of batches, and would run the ninth eager, silently."""
    sizes = []

    def compile_nothing(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> torch.fx.GraphModule:
        sizes.append([len(example) for example in examples if example.shape[1:] == (1, 1, 4)])
        return graph

    def compiled(model: torch.nn.Module, wanted: bool) -> torch.nn.Module:
        return torch.compile(model, backend=compile_nothing, dynamic=False) if wanted else model

    monkeypatch.setattr(speed, "compiled", compiled)
    model = torch.nn.Linear(4, 2)
    for batch in range(1, 11):
        assert measure_speed(model, (1, 1, 4), batch, compile=True, least_seconds=0.0).compiled
    assert sizes == [[batch] for batch in range(1, 11)]


def test_products_take_time() -> None:
    left, right = torch.randn(64, 32), torch.randn(32, 16)
    products = matrix_products(lambda: [left @ right for _ in range(3)])
    assert list(products.values()) == [3]
    assert operations_of(products) == 3 * 2 * 64 * 32 * 16
    assert seconds_of(products) > 0


def test_what_cannot_be_measured_is_not_measured_as_something_else() -> None:
    """Past the types that beartype checks, which nobody else's program checks."""
    measure = inspect.unwrap(measure_speed)
    with pytest.raises(UsageFailure, match="precision is 'bf16': did you mean 'bfloat16'"):
        measure(small(), SHAPE, 1, precision="bf16")
    with pytest.raises(UsageFailure, match="work is 'train': did you mean 'training'"):
        measure(small(), SHAPE, 1, work="train")


def test_too_many_images_are_said_not_a_traceback() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    with pytest.raises(Failure, match="--batch-size"):
        measure_speed(model, (3, 1, 1), 2**50)
