"""`vit benchmark MODEL [OPTIONS]`: how fast a model is on this machine."""

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.familiar_presets import tell_familiar_preset
from vision_transformers.config import nearest
from vision_transformers.errors import UsageFailure
from vision_transformers.files import check_can_be_written, expanded, write_json

if TYPE_CHECKING:
    from vision_transformers.evaluation.speed import Numbers, Speed
    from vision_transformers.model.vit import ViT


@dataclass(frozen=True)
class BenchmarkOptions:
    """A model, and how to measure it."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run, a model folder, or the name of a preset such as ViT-S/16."""
    batch_size: tuple[int, ...] = (1, 16, 64)
    """Images at once; several are measured one after another."""
    work: tuple[Literal["inference", "training"], ...] = ("inference",)
    """What to measure; training is forward, backward and AdamW, on random images."""
    precision: tuple[Literal["float32", "bfloat16", "bfloat16-weights"], ...] | None = None
    """In which to compute: bfloat16 computes products in it, bfloat16-weights everything. If not given,
    float32, and bfloat16 where the device multiplies in it."""
    compile: bool = False
    """Through torch.compile, which takes a while before it is measured."""
    seconds: float = 2.0
    """How long to measure each row, and 5 batches at least."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    output: Path | None = None
    """A JSON file for the numbers."""


def main(arguments: list[str]) -> int:
    """Measures as the arguments say; returns the exit code."""
    options = _parse(arguments)
    from vision_transformers.runtime.allocation import keep_freed_memory
    from vision_transformers.runtime.device import describe_device, resolve_device

    keep_freed_memory()
    device = resolve_device(options.device)
    model = _model(options.model)
    content = {
        "date": str(date.today()),
        "model": options.model,
        "machine": describe_device(device),
        "versions": _versions(),
    }
    rows: list[dict[str, object]] = []
    print(f"{content['machine']}, {content['versions']}")
    print(HEAD)
    for speed in _speeds(options, model, str(device)):
        rows.append(asdict(speed))
        print(_line(speed), flush=True)
        if options.output is not None:  # also if what follows is too large for this machine
            write_json(options.output, {**content, "rows": rows})
    alone = "matrix products and fused attention" if device.type == "cuda" else "matrix products"
    print(f"ceiling: the model's own {alone}, timed alone; on a busy machine, both wander")
    return 0


HEAD = "work       precision         batch  images/s   p50 ms   p90 ms   p99 ms  of ceiling  memory MiB"


def _line(speed: "Speed") -> str:
    times = "".join(f"{speed.milliseconds[name]:9.2f}" for name in ("p50", "p90", "p99"))
    return (
        f"{speed.work:<10} {speed.precision:<16} {speed.batch_size:>6} {speed.images_per_second:>9,.1f}"
        f"{times} {speed.share_of_ceiling:>11.0%} {speed.memory_mebibytes:>11,.0f}"
    )


def _parse(arguments: list[str]) -> BenchmarkOptions:
    description = "Measure how fast a model is: images a second, latencies, memory, share of the ceiling."
    options = tyro.cli(BenchmarkOptions, prog="vit benchmark", description=description, args=arguments)
    if not options.batch_size or min(options.batch_size) < 1:
        raise UsageFailure("--batch-size needs whole numbers of 1 or more, such as --batch-size 1 16")
    for name, values in (("work", options.work), ("precision", options.precision)):
        if values == ():
            raise UsageFailure(f"--{name} has no values: give some, or leave it out")
    check_least(options, seconds=0)
    if options.output is not None:
        check_can_be_written(options.output)
    return options


def _model(name: str) -> "ViT":
    from vision_transformers.classifier import load
    from vision_transformers.model.presets import PRESETS, preset
    from vision_transformers.model.vit import ViT
    from vision_transformers.weights.places import HUB

    if name.startswith(HUB) or expanded(name).exists():
        return load(name, device="cpu").model
    tell_familiar_preset(name)
    if name not in PRESETS:
        raise UsageFailure(
            f"{name} is no preset, and no folder of a run or of a model: {nearest(name, PRESETS)}"
        )
    return ViT.from_config(preset(name))


def _speeds(options: BenchmarkOptions, model: "ViT", device: str) -> "Iterator[Speed]":
    import torch

    from vision_transformers.evaluation.speed import measure_speed
    from vision_transformers.runtime.precision import has_bfloat16

    quick: list[Numbers] = ["float32", "bfloat16"] if has_bfloat16(torch.device(device)) else ["float32"]
    shape = (model.config.number_of_channels, *model.config.max_image_shape)
    for work in options.work:
        for precision in options.precision or quick:
            for batch_size in options.batch_size:
                yield measure_speed(
                    model,
                    shape,
                    batch_size,
                    work=work,
                    precision=precision,
                    compile=options.compile,
                    device=torch.device(device),
                    least_seconds=options.seconds,
                )


def _versions() -> str:
    import torch

    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
