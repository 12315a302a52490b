"""Training and inference on a CPU beside everybody else's Vision Transformers, each in its best setting.

    python -m benchmarks.speed                    the settings that are recorded; chosen where none are
    python -m benchmarks.speed --choose           the whole run: settings are chosen anew
    python -m benchmarks.speed --short            a few cases only
    python -m benchmarks.speed --memory           also everybody's memory, each in a process of its own
    python -m benchmarks.speed --cases "MNIST training, batch 256" --rounds 20

Opponents take turns, round by round. Each is in the setting that was its fastest on this machine: chosen by
the same steps from the same list, and recorded in benchmarks/results/settings.json. The ceiling is the time
of our model's matrix products alone, measured in the same run. Writes benchmarks/results/speed.json and
speed.md. On GPUs: `benchmarks.speed_gpu`.
"""

import argparse
import gc
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from benchmarks import record
from benchmarks.architectures import ARCHITECTURES
from benchmarks.choosing import borrowed, choose, left_out, recorded
from benchmarks.opponents import OPPONENTS, OURS, STARTING_DOCUMENT
from benchmarks.settings import Case, Setting, settle_compiler, step_of
from benchmarks.turns import Spread, number_of_rounds, ratio, rounds_within, take_turns

from vision_transformers.evaluation.matrix_products import Product, Products, matrix_products
from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.precision import has_bfloat16

LIBRARIES = ("torch", "timm", "torchvision", "transformers", "vit-pytorch")
CASES = [
    *(Case(ARCHITECTURES["MNIST"], "training", batch) for batch in (64, 256, 1024)),
    *(Case(ARCHITECTURES["MNIST"], "inference", batch) for batch in (64, 256, 1024)),
    Case(ARCHITECTURES["CIFAR"], "training", 128),
    Case(ARCHITECTURES["CIFAR"], "inference", 128),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "training", 16) for size in ("Ti", "S", "B", "L")),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "inference", 16) for size in ("Ti", "S", "B", "L")),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 16, ("float32",)),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "inference", 1) for size in ("Ti", "S", "B", "L")),
]
SHORT = [
    Case(ARCHITECTURES["MNIST"], "training", 256),
    Case(ARCHITECTURES["CIFAR"], "training", 128),
    Case(ARCHITECTURES["ViT-S/16"], "training", 16),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 16),
]
ROUNDS, SHORT_ROUNDS = 11, 5
LONGEST_SHORT_SECONDS = 60.0
"""Of one case in the short form, which has fewer rounds where steps are long."""
ALONE = "our matrix products alone"
ABOUT = """Medians with quartiles, in turns; made by `python -m benchmarks.speed` and, on GPUs,
`benchmarks.speed_gpu`.

"Of our products alone": seconds of our model's matrix products, in the numbers of its setting, over seconds
of the row's step, in the same turns (on GPUs: after them, and with the fastest fused attention). Others
compute more in their last layer. What is compiled for inference has its weights as constants
(`TORCHINDUCTOR_FREEZING=1`), everybody's. Tables without a number of rounds were made before 2026-11-27:
products were timed after the turns, and of who has two attentions the two fastest eager settings alone were
compiled."""


@dataclass(frozen=True)
class Row:
    """One opponent in one case."""

    case: str
    opponent: str
    setting: str
    images_per_second: Spread
    ours_is_times_as_fast: Spread
    share_of_ceiling: float | None
    memory_mebibytes: float | None
    """The most that a process held which did this alone; None where it was not measured."""


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="choose everybody's settings anew")
    parser.add_argument("--short", action="store_true", help="a few cases")
    parser.add_argument("--memory", action="store_true", help="everybody's memory, too")
    parser.add_argument("--cases", nargs="+", metavar="CASE")
    parser.add_argument("--rounds", type=number_of_rounds, help=f"{ROUNDS}; short: at most {SHORT_ROUNDS}")
    options = parser.parse_args()
    device = torch.device("cpu")
    cases = {case.name: case for case in different(SHORT if options.short else CASES, device)}
    if unknown := set(options.cases or cases) - set(cases):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(cases)}")
    settle_compiler()
    keep_freed_memory()  # everybody's, as `vit train` does
    print(title(device))
    for name in options.cases or cases:
        _forget_compiled()
        settings = settings_of(cases[name], device, options.choose)
        rounds = options.rounds or (SHORT_ROUNDS if options.short else ROUNDS)
        longest = LONGEST_SHORT_SECONDS if options.short and not options.rounds else math.inf
        rows, rounds = measure(cases[name], settings, device, rounds, longest)
        write(rows, device, rounds)
        if options.memory:
            rows = [with_memory(row, settings[row.opponent]) for row in rows]
            write(rows, device, rounds)
        print(table(rows), flush=True)


def different(cases: list[Case], device: torch.device) -> list[Case]:
    """Without those for float32 alone, where nothing else is possible anyway."""
    return [case for case in cases if len(case.numbers) > 1 or has_bfloat16(device)]


def settings_of(case: Case, device: torch.device, choose_anew: bool) -> dict[str, Setting]:
    """Everybody's: as recorded, or as on a machine like this one; chosen where there are none."""
    known = {} if choose_anew else recorded(case, device) or borrowed(case, device)
    return known | choose(case, device, [name for name in OPPONENTS if name not in known])


def measure(
    case: Case, settings: Mapping[str, Setting], device: torch.device, rounds: int, longest: float = math.inf
) -> tuple[list[Row], int]:
    """All opponents that work here in turns, each in its setting, and our matrix products alone.

    Args:
        case: what is measured.
        settings: of each opponent.
        device: where.
        rounds: at most.
        longest: seconds, into which as many as fit.

    Returns:
        A row for each, and how many rounds they took.
    """
    steps = {}
    for name, setting in settings.items():
        try:
            steps[name] = step_of(name, case, setting, device)
            steps[name]()
        except Exception as error:
            if name == OURS:
                raise
            steps.pop(name, None)
            print(left_out(name, setting, error), flush=True)
    turns = {**steps, ALONE: products_alone(case, settings[OURS], device)}
    warm_up = take_turns(turns, device, rounds=1, warm_up=0)
    rounds = rounds_within(longest, sum(map(sum, warm_up.values())), rounds)
    seconds = take_turns(turns, device, rounds, warm_up=0)
    rows = rows_of(case, {name: settings[name] for name in steps}, seconds)
    shares = {row.opponent: ratio(seconds[ALONE], seconds[row.opponent]).median for row in rows}
    return [replace(row, share_of_ceiling=shares[row.opponent]) for row in rows], rounds


def rows_of(case: Case, settings: Mapping[str, Setting], seconds: Mapping[str, list[float]]) -> list[Row]:
    """What the seconds of everybody's turns say; shares of the ceiling and memory are not measured yet."""
    return [
        Row(
            case.name,
            name,
            str(setting),
            Spread.of([case.batch / each for each in seconds[name]]),
            ratio(seconds[name], seconds[OURS]),
            None,
            None,
        )
        for name, setting in settings.items()
    ]


def with_memory(row: Row, setting: Setting) -> Row:
    """The row with its memory, measured in a process that does nothing else; without, where that fails."""
    what = [row.case, row.opponent, json.dumps(asdict(setting))]
    command = [sys.executable, "-m", "benchmarks.memory", *what]
    finished = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if finished.returncode != 0:
        print(f"{row.case}, {row.opponent}: memory is not measured, its process failed", flush=True)
        return row
    return replace(row, memory_mebibytes=float(finished.stdout.split()[-1]))


def products_of(case: Case, setting: Setting, device: torch.device) -> Products:
    """Our model's matrix products, in the numbers of our setting, the batch in one part."""
    return matrix_products(
        step_of(OURS, case, replace(setting, compile=False, parts=1, recorded=False), device)
    )


def products_alone(case: Case, setting: Setting, device: torch.device) -> Callable[[], None]:
    """Computes them on a CPU, one after another, and nothing else."""
    products = products_of(case, setting, device)
    work = []
    for product, count in products.items():
        assert isinstance(product, Product)  # on a CPU attention is two of them
        work.append((product.of_random_numbers(), count))

    def multiply() -> None:
        for product, count in work:
            for _ in range(count):
                product()

    return multiply


def best_opponent(rows: list[Row]) -> Row:
    """The fastest of the others, pair by pair, without the starting document's model."""
    others = [row for row in rows if row.opponent not in (OURS, STARTING_DOCUMENT)]
    return min(others, key=lambda row: row.ours_is_times_as_fast.median)


def table(rows: list[Row], machine: str = "") -> str:
    """For a terminal, and for Markdown."""
    lines = [
        f"\n### {', on '.join(filter(None, (rows[0].case, machine)))}\n",
        "| model | setting | images/s | ours is times as fast | of our products alone | MiB | difference |",
    ]
    lines.append("|---" * 7 + "|")
    for row in sorted(rows, key=lambda row: -row.images_per_second.median):
        speed = row.images_per_second
        images = f"{speed.median:,.1f} ({speed.lower:,.1f} to {speed.upper:,.1f})"
        memory = "not measured" if row.memory_mebibytes is None else f"{row.memory_mebibytes:,.0f}"
        share = "not measured" if row.share_of_ceiling is None else f"{row.share_of_ceiling:.0%}"
        lines.append(
            f"| {row.opponent} | {row.setting} | {images} | {row.ours_is_times_as_fast} "
            f"| {share} | {memory} | {OPPONENTS[row.opponent].difference} |"
        )
    return "\n".join(lines)


def title(device: torch.device) -> str:
    """Date, machine, and versions of everybody."""
    return record.title(device, LIBRARIES)


def write(rows: list[Row], device: torch.device, rounds: int) -> None:
    """Puts what this machine did in a case into speed.json, and writes speed.md anew."""
    cases = record.read("speed.json")
    measured = {"title": title(device), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    cases.setdefault(rows[0].case, {})[record.machine(device)] = measured
    record.write("speed.json", cases)
    write_tables(cases)


def write_tables(cases: Mapping[str, Any]) -> None:
    """Writes speed.md from what speed.json holds."""
    parts = ["# Speeds", "", ABOUT]
    for machines in cases.values():
        for machine, measured in machines.items():
            of_rounds = f"{measured['rounds']} rounds, " if "rounds" in measured else ""
            parts += [table(read_rows(measured), machine), "", f"{of_rounds}{measured['title']}"]
    record.write_text("speed.md", "\n".join(parts))


def read_rows(measured: dict[str, Any]) -> list[Row]:
    """The rows of one case on one machine, as speed.json has them."""
    spreads = ("images_per_second", "ours_is_times_as_fast")
    return [Row(**(row | {name: Spread(**row[name]) for name in spreads})) for row in measured["rows"]]


def _forget_compiled() -> None:
    """Of the cases before: PyTorch compiles only so many versions of one function."""
    gc.collect()
    torch._dynamo.reset()


if __name__ == "__main__":
    main()
