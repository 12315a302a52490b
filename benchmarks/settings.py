"""The list of settings that everybody chooses from, and one step of a model in one of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch._inductor.config
from benchmarks.architectures import Architecture
from benchmarks.opponents import OPPONENTS, Attention

from vision_transformers.evaluation.speed import Numbers, Work, one_batch
from vision_transformers.runtime.compilation import compiled
from vision_transformers.runtime.recording import Recording


@dataclass(frozen=True)
class Setting:
    """How a model computes."""

    numbers: Numbers
    attention: Attention
    compile: bool = False
    parts: int = 1
    """Into how many equal parts a training batch is cut; gradients add up to the whole batch's."""
    recorded: bool = False
    """On a GPU, whether a step is recorded and replayed, as a CUDA graph."""

    def __str__(self) -> str:
        words = [self.numbers, f"{self.attention} attention", "compiled" if self.compile else "eager"]
        words += [f"{self.parts} parts"] * (self.parts > 1)
        return ", ".join(words + ["recorded"] * self.recorded)


@dataclass(frozen=True)
class Case:
    """What is measured."""

    architecture: Architecture
    work: Work
    batch: int
    numbers: tuple[Numbers, ...] = ("float32", "bfloat16", "bfloat16-weights")

    @property
    def name(self) -> str:
        """As tables and records have it."""
        only = "" if len(self.numbers) > 1 else f", {self.numbers[0]}"
        return f"{self.architecture.name} {self.work}, batch {self.batch}{only}"


def settle_compiler() -> None:
    """Compiles inference with weights as constants, everybody's, here and in processes that are started.

    And what cannot be compiled is told: else it would go on eager, and be called compiled.
    """
    os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")
    torch._inductor.config.freezing = os.environ["TORCHINDUCTOR_FREEZING"] == "1"
    torch._dynamo.config.fail_on_recompile_limit_hit = True


def step_of(opponent: str, case: Case, setting: Setting, device: torch.device) -> Callable[[], object]:
    """One batch through a new model: a training step with AdamW, or inference."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if setting.numbers == "bfloat16-weights" else torch.float32
    model = OPPONENTS[opponent].build(case.architecture, setting.attention).to(device, dtype)
    model.train(case.work == "training")
    images = torch.randn(case.batch, *case.architecture.image_shape, device=device).to(dtype)
    forward = compiled(model, setting.compile)
    parts, recorded = setting.parts, setting.recorded
    step = one_batch(model, forward, images, case.work, setting.numbers, parts=parts, recorded=recorded)
    if not recorded:
        return step
    recording = Recording(device)
    return lambda: recording(step)
