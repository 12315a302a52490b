"""On what a run computes: resolved once when it begins, recorded, and compared when it is resumed."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Literal

import torch

from vision_transformers.config import differences
from vision_transformers.errors import Failure
from vision_transformers.model.kernels import (
    layer_norm,
    narrow_encoder,
    narrow_feed_forward,
    short_attention,
    tiled_linear,
    token_means,
)
from vision_transformers.model.kernels.operators import Program, is_triton_available
from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.compilation import resolve_compile
from vision_transformers.runtime.device import describe_device, resolve_device
from vision_transformers.runtime.native import SWITCH, describe_compiler
from vision_transformers.runtime.precision import ResolvedPrecision, resolve_precision
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.record import Environment, Versions


def resolve_environment(
    recipe: Recipe, data_fingerprint: str, processes: int = 1, teacher_fingerprint: str | None = None
) -> Environment:
    """What `auto` comes to on this machine, for so many processes.

    Raises:
        UsageFailure: the device or compilation that is asked for is not to be had here.
    """
    device = resolve_device(recipe.device)
    precision = resolve_precision(recipe.precision, device)
    is_bfloat16 = precision == "bfloat16"
    attention = _computed_by(
        device, precision, lambda: short_attention.is_available(getattr(torch, precision))
    )
    feed_forward = _computed_by(device, precision, lambda: is_bfloat16 and narrow_feed_forward.is_available())
    return Environment(
        torch=version("torch"),
        torchvision=version("torchvision"),
        pillow=version("pillow"),
        device=str(device),
        processor=describe_device(device),
        threads=recipe.threads or torch.get_num_threads(),
        precision=precision,
        compile=resolve_compile(recipe.compile, device),
        data=data_fingerprint,
        attention=attention,
        feed_forward=feed_forward,
        numpy=version("numpy"),
        vision_transformers=version("vision_transformers"),
        simplejpeg=version("simplejpeg"),
        processes=processes,
        compiler=describe_compiler() if "native" in (attention, feed_forward) else None,
        programs=_programs(attention, feed_forward, precision),
        teacher=teacher_fingerprint,
    )


def _programs(attention: str, feed_forward: str, precision: ResolvedPrecision) -> str | None:
    programs: list[Program | None] = []
    if attention == "native":
        programs.append(short_attention.program_for(getattr(torch, precision)))
    if feed_forward == "native":  # in bfloat16, with weights and tokens between blocks in float32
        programs += [module.program_here() for module in (narrow_feed_forward, tiled_linear, token_means)]
        programs += [module.program_for(torch.float32) for module in (layer_norm, narrow_encoder)]
    return ", ".join(program.source.stem for program in programs if program is not None) or None


def _computed_by(
    device: torch.device, precision: ResolvedPrecision, is_native: Callable[[], bool]
) -> Literal["pytorch", "native", "triton"]:
    if device.type == "cpu" and is_native():
        return "native"
    if device.type == "cuda" and precision == "bfloat16" and is_triton_available(device):
        return "triton"
    return "pytorch"


def _how_to_leave_it_to_pytorch(recorded: Environment, found: Environment) -> str:
    before, now = ({each.attention, each.feed_forward} for each in (recorded, found))
    return f". With {SWITCH}=off PyTorch computes as before" if before == {"pytorch"} != now else ""


def record_versions() -> Versions:
    """The versions of what runs here."""
    return Versions(version("vision_transformers"), sys.version.split()[0], version("numpy"), sys.platform)


def settle_environment(recorded: Environment, found: Environment, allow_different: bool) -> Environment:
    """What a resumed run computes on: as recorded, with the recorded number of threads.

    Raises:
        Failure: something else differs, and that is not allowed; names each difference.
    """
    found = replace(found, threads=recorded.threads)
    # What an earlier release did not record is no difference.
    changed = [each for each in differences(recorded, found) if each[1] is not None]
    if changed and not allow_different:
        listed = "".join(f"\n  {name}: {before} before, {now} now" for name, before, now in changed)
        raise Failure(
            f"this is not the machine, the data or the teacher that the run was on before:{listed}\n"
            "It could not promise to end with the same bytes. "
            "To go on all the same, add --allow-different-machine"
            f"{_how_to_leave_it_to_pytorch(recorded, found)}"
        )
    return found


@contextmanager
def applied_environment(environment: Environment, deterministic: bool) -> Iterator[None]:
    """Sets threads, memory and determinism for this process; threads and determinism are put back.

    Who trains twice in one process gets the same as in two. What stays: `keep_freed_memory`, and with
    determinism $CUBLAS_WORKSPACE_CONFIG, which PyTorch reads when cuBLAS is first used.
    """
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    before = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(environment.threads)
    if torch.device(environment.device).type == "cpu":
        keep_freed_memory()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(deterministic)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(before, warn_only=warns_only)
