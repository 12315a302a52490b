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
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from benchmarks import record
from benchmarks.architectures import ARCHITECTURES
from benchmarks.opponents import OPPONENTS, OURS, STARTING_DOCUMENT
from benchmarks.settings import Case, Setting, settle_compiler, step_of
from benchmarks.turns import Spread, number_of_rounds, ratio, take_turns

from vision_transformers.evaluation.matrix_products import matrix_products, seconds_of
from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.precision import has_bfloat16

PARTS = 4
FAR_BEHIND = 2.0
"""A setting whose second call takes so many times as long as another one's is not measured further."""
FINALISTS, FINAL_ROUNDS = 3, 9
LIBRARIES = ("torch", "timm", "torchvision", "transformers", "vit-pytorch")
CASES = [
    *(Case(ARCHITECTURES["MNIST"], "training", batch) for batch in (64, 256, 1024)),
    Case(ARCHITECTURES["MNIST"], "inference", 256),
    Case(ARCHITECTURES["CIFAR"], "training", 128),
    Case(ARCHITECTURES["CIFAR"], "inference", 128),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "training", 16) for size in ("Ti", "S", "B", "L")),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 16, ("float32",)),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 16),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 1),
]
SHORT = [
    Case(ARCHITECTURES["MNIST"], "training", 256),
    Case(ARCHITECTURES["CIFAR"], "training", 128),
    Case(ARCHITECTURES["ViT-S/16"], "training", 16),
    Case(ARCHITECTURES["ViT-S/16"], "inference", 16),
]


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
    difference: str


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="choose everybody's settings anew")
    parser.add_argument("--short", action="store_true", help="a few cases")
    parser.add_argument("--memory", action="store_true", help="everybody's memory, too")
    parser.add_argument("--cases", nargs="*", metavar="CASE")
    parser.add_argument("--rounds", type=number_of_rounds, default=11)
    options = parser.parse_args()
    device = torch.device("cpu")
    cases = {case.name: case for case in (SHORT if options.short else CASES)}
    if unknown := set(options.cases or cases) - set(cases):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(cases)}")
    settle_compiler()
    keep_freed_memory()  # everybody's, as `vit train` does
    print(title(device))
    for name in options.cases or cases:
        _forget_compiled()
        chosen = {} if options.choose else recorded(cases[name], device)
        chosen = chosen or choose(cases[name], device)
        rows = measure(cases[name], chosen, device, options.rounds)
        write(rows, device)
        if options.memory:
            rows = [with_memory(row, chosen[row.opponent]) for row in rows]
            write(rows, device)
        print(table(rows), flush=True)


def choose(case: Case, device: torch.device) -> dict[str, Setting]:
    """Everybody's fastest setting by the same steps: eager, then compiled, then in parts; recorded.

    On CPUs without avx512_bf16 in float32 alone: PyTorch emulates bfloat16 there, and a step takes minutes.
    The machine's speed drifts meanwhile, so that the fastest of all of these take turns once more.
    """
    found: dict[str, list[Tried]] = {}
    numbers = case.numbers if has_bfloat16(device) else [n for n in case.numbers if n == "float32"]
    for name, opponent in OPPONENTS.items():
        eager = [Setting(n, attention) for n in numbers for attention in opponent.attentions]
        tried = _try_all(name, case, eager, device)
        fastest = sorted(tried, key=lambda each: each.seconds)[:2]
        tried += _try_all(name, case, [replace(each.setting, compile=True) for each in fastest], device)
        if not tried:
            continue
        if case.work == "training" and case.batch % PARTS == 0:
            best = min(tried, key=lambda each: each.seconds).setting
            tried += _try_all(name, case, [replace(best, parts=PARTS)], device)
        tried.sort(key=lambda each: each.seconds)
        finalists = _in_turns(tried[:FINALISTS], device, FINAL_ROUNDS)
        found[name] = sorted(finalists, key=lambda each: each.seconds)
        everything = found[name] + tried[FINALISTS:]
        milliseconds = [f"{each.setting}: {1000 * each.seconds:.1f} ms" for each in everything]
        print(f"{case.name}, {name}: " + "; ".join(milliseconds), flush=True)
    settings = record.read("settings.json")
    settings.setdefault(record.machine(device), {})[case.name] = {
        name: asdict(tried[0].setting) for name, tried in found.items()
    }
    record.write("settings.json", settings)
    return {name: tried[0].setting for name, tried in found.items()}


def recorded(case: Case, device: torch.device) -> dict[str, Setting]:
    """The settings that the last whole run on such a machine chose; empty where there was none."""
    machine = record.read("settings.json").get(record.machine(device), {})
    return {name: Setting(**setting) for name, setting in machine.get(case.name, {}).items()}


@dataclass(frozen=True)
class Tried:
    """A setting, and how long a step in it takes."""

    setting: Setting
    step: Callable[[], object]
    seconds: float


def _try_all(opponent: str, case: Case, settings: list[Setting], device: torch.device) -> list[Tried]:
    """The median of a few calls, in turns, of each setting that works and is not far behind at once."""
    tried: list[Tried] = []
    for setting in settings:
        step = step_of(opponent, case, setting, device)
        try:
            step()
        except Exception as error:  # what a compiler meets is its own; the setting is left out, and said so
            print(f"{opponent}, {setting}: {type(error).__name__}, left out")
            continue
        second_call = take_turns({"": step}, device, rounds=1, warm_up=0)[""][0]
        tried.append(Tried(setting, step, second_call))
    hopeless = FAR_BEHIND * min((each.seconds for each in tried), default=0.0)
    return _in_turns([each for each in tried if each.seconds < hopeless], device, rounds=5)


def _in_turns(tried: list[Tried], device: torch.device, rounds: int) -> list[Tried]:
    """With the medians of new measurements."""
    if not tried:
        return []
    seconds = take_turns({str(each.setting): each.step for each in tried}, device, rounds, warm_up=1)
    return [replace(each, seconds=Spread.of(seconds[str(each.setting)]).median) for each in tried]


def measure(case: Case, chosen: dict[str, Setting], device: torch.device, rounds: int) -> list[Row]:
    """All opponents in turns, each in its setting; and the ceiling of ours."""
    steps = {name: step_of(name, case, setting, device) for name, setting in chosen.items()}
    seconds = take_turns(steps, device, rounds)
    return with_ceiling(rows_of(case, chosen, seconds), case, chosen[OURS], device)


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
            OPPONENTS[name].difference,
        )
        for name, setting in settings.items()
    ]


def with_ceiling(rows: list[Row], case: Case, setting: Setting, device: torch.device) -> list[Row]:
    """The rows with their shares of what our model's matrix products alone allow."""
    ceiling = ceiling_of(case, setting, device)
    return [
        replace(row, share_of_ceiling=ceiling * row.images_per_second.median / case.batch) for row in rows
    ]


def with_memory(row: Row, setting: Setting) -> Row:
    """The row with its memory, measured in a process that does nothing else."""
    what = [row.case, row.opponent, json.dumps(asdict(setting))]
    command = [sys.executable, "-m", "benchmarks.memory", *what]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return replace(row, memory_mebibytes=float(printed.split()[-1]))


def ceiling_of(case: Case, setting: Setting, device: torch.device) -> float:
    """Seconds of our model's matrix products alone, in the numbers of our setting, the batch in one part."""
    eager = step_of(OURS, case, replace(setting, compile=False, parts=1, recorded=False), device)
    return seconds_of(matrix_products(eager))


def best_opponent(rows: list[Row]) -> Row:
    """The fastest of the others, without the starting document's model."""
    others = [row for row in rows if row.opponent not in (OURS, STARTING_DOCUMENT)]
    return max(others, key=lambda row: row.images_per_second.median)


def table(rows: list[Row], machine: str = "") -> str:
    """For a terminal, and for Markdown."""
    lines = [
        f"\n### {', on '.join(filter(None, (rows[0].case, machine)))}\n",
        "| model | setting | images/s | ours is times as fast | of ceiling | MiB | difference |",
    ]
    lines.append("|---" * 7 + "|")
    for row in sorted(rows, key=lambda row: -row.images_per_second.median):
        speed = row.images_per_second
        images = f"{speed.median:,.1f} ({speed.lower:,.1f} to {speed.upper:,.1f})"
        memory = "not measured" if row.memory_mebibytes is None else f"{row.memory_mebibytes:,.0f}"
        share = "not measured" if row.share_of_ceiling is None else f"{row.share_of_ceiling:.0%}"
        lines.append(
            f"| {row.opponent} | {row.setting} | {images} | {row.ours_is_times_as_fast} "
            f"| {share} | {memory} | {row.difference} |"
        )
    return "\n".join(lines)


def title(device: torch.device) -> str:
    """Date, machine, and versions of everybody."""
    return record.title(device, LIBRARIES)


def write(rows: list[Row], device: torch.device) -> None:
    """Puts what this machine did in a case into speed.json, and writes speed.md anew from all of it."""
    cases = record.read("speed.json")
    measured = {"title": title(device), "rows": [asdict(row) for row in rows]}
    cases.setdefault(rows[0].case, {})[record.machine(device)] = measured
    record.write("speed.json", cases)
    made_by = "`python -m benchmarks.speed` and, on GPUs, `benchmarks.speed_gpu`"
    parts = ["# Speeds", "", f"Medians with quartiles, in turns; made by {made_by}."]
    for machines in cases.values():
        for machine, measured in machines.items():
            parts += [table(read_rows(measured), machine), "", measured["title"]]
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
