"""What this project wants to reach, beside what the benchmarks last recorded.

    python -m benchmarks.goals

Speeds are the newest on record of the machines that the goals are for: two cores with AVX512, or an H200.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks import record
from benchmarks.accuracy import recorded
from benchmarks.opponents import OURS, STARTING_DOCUMENT
from benchmarks.pictures import IN_MEMORY
from benchmarks.settings import Case
from benchmarks.speed import Row, best_opponent, read_rows
from benchmarks.speed_gpu import MNIST, VITS
from benchmarks.start import HELP
from benchmarks.turns import Spread, ratio

ENOUGH_OF_CEILING = 0.8
"""A ratio counts as met, too, at this share of what the matrix products and fused attention alone allow."""
TIMES_IMAGE_FOLDER = 1.5
SECONDS_OF_HELP = 0.3


def is_for_goals(machine: str) -> bool:
    """Whether goals of speed are for it."""
    return "NVIDIA H200" in machine or ("AVX512" in machine and machine.endswith(", 2 threads"))


@dataclass(frozen=True)
class Judged:
    """What was measured."""

    measured: str
    is_met: bool
    where: str
    """And when."""


@dataclass(frozen=True)
class Goal:
    """Something to reach."""

    what: str
    wanted: str
    judge: Callable[[], Judged | None]
    """None where nothing was measured."""


def faster(case: str, wanted: float) -> Goal:
    """So many times as fast as the best opponent, or near enough to the ceiling, where it was measured."""

    def judge() -> Judged | None:
        if (found := _speeds(case)) is None:
            return None
        rows, where = found
        best = best_opponent(rows)
        ours = _ours(rows)
        times = best.ours_is_times_as_fast
        measured = f"{times.median:.3f} ({times.lower:.2f} to {times.upper:.2f}) of {best.opponent}"
        if ours.share_of_ceiling is None:
            return Judged(measured, times.median >= wanted, where)
        is_met = times.median >= wanted or ours.share_of_ceiling >= ENOUGH_OF_CEILING
        return Judged(f"{measured}; {ours.share_of_ceiling:.0%} of the ceiling", is_met, where)

    wanted_in_words = (
        f"at least {wanted:g} times the best opponent, or {ENOUGH_OF_CEILING:.0%} of the ceiling"
    )
    return Goal(case, wanted_in_words, judge)


def swift(case: Case, wanted: int) -> Goal:
    """So many images a second."""

    def judge() -> Judged | None:
        if (found := _speeds(case.name)) is None:
            return None
        rows, where = found
        ours = _ours(rows).images_per_second
        measured = f"{ours.median:,.0f} ({ours.lower:,.0f} to {ours.upper:,.0f})"
        return Judged(measured, ours.median >= wanted, where)

    return Goal(case.name, f"at least {wanted:,} images a second", judge)


def beside_the_start(case: str, wanted: float) -> Goal:
    """So many times as fast as the starting document's model."""

    def judge() -> Judged | None:
        if (found := _speeds(case)) is None:
            return None
        rows, where = found
        times = next(row for row in rows if row.opponent == STARTING_DOCUMENT).ours_is_times_as_fast
        return Judged(str(times), times.median >= wanted, where)

    return Goal(case, f"at least {wanted:g} times the starting document's model", judge)


def accurate(recipe: str, wanted: float, seconds: float | None, seeds: int) -> Goal:
    """So right, as a mean over seeds, in so many seconds, as their median."""

    def judge() -> Judged | None:
        runs = recorded(recipe) if seconds is None else _of_last_machine(recorded(recipe), seeds)
        if len(runs) < seeds:
            return None
        accuracies = [run["test_accuracy"] for run in runs]
        accuracy = statistics.fmean(accuracies)
        took = statistics.median(run["seconds"] for run in runs)
        spread = f"{min(accuracies):.2%} to {max(accuracies):.2%}, {len(runs)} seeds"
        is_met = accuracy >= wanted and took <= (seconds or took)
        return Judged(
            f"{accuracy:.2%} ({spread}) in {took:.0f} s",
            is_met,
            _all_of(record.where(run["title"]) for run in runs),
        )

    limit = f" in at most {seconds:g} s" if seconds else ""
    return Goal(f"vit train {recipe}", f"{wanted:.2%}{limit}", judge)


def _of_last_machine(runs: list[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """The runs of the machine that was last measured with so many seeds: seconds of two are no median."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: str(run["title"])):  # a title begins with its date
        machine = record.machine_of(run["title"])
        if is_for_goals(machine):
            machines[machine] = [*machines.pop(machine, []), run]
    return next((found for found in reversed(machines.values()) if len(found) >= seeds), [])


def pictures() -> Judged | None:
    """The JPEG pipeline, by its worst ratio."""
    everything = record.read("pictures.json").get("rows", [])
    files = [row for row in everything if row["kind"] != IN_MEMORY.name]
    rows = [row for row in files if is_for_goals(record.machine_of(row["title"]))]
    if not rows:
        return None
    ratios = [Spread(**row["ratio"]) for row in rows]
    listed = [
        f"{times} ({row['kind']}, {row['workers']} workers)" for times, row in zip(ratios, rows, strict=True)
    ]
    is_met = min(times.median for times in ratios) >= TIMES_IMAGE_FOLDER
    return Judged("; ".join(listed), is_met, _all_of(record.where(row["title"]) for row in rows))


def start() -> Judged | None:
    """The help, and the first training step beside each peer's, round by round."""
    those = [each for machine, each in record.read("start.json").items() if is_for_goals(machine)]
    if not those:
        return None
    newest = max(those, key=lambda each: str(each["title"]))
    seconds = newest["seconds"]
    shown = statistics.median(seconds.pop(HELP))
    times = {name: ratio(theirs, seconds[OURS]) for name, theirs in seconds.items() if name != OURS}
    steps = "; ".join(f"{name} {spread}" for name, spread in times.items())
    is_met = shown < SECONDS_OF_HELP and min(spread.median for spread in times.values()) >= 1
    measured = f"help {shown:.2f} s; others' first steps take times ours: {steps}"
    return Judged(measured, is_met, record.where(newest["title"]))


GOALS = [
    *(faster(f"MNIST training, batch {batch}", 1.3) for batch in (64, 256, 1024)),
    beside_the_start("MNIST training, batch 256", 3),
    faster("CIFAR training, batch 128", 1.3),
    faster("ViT-S/16 training, batch 16", 1.3),
    faster("ViT-S/16 inference, batch 16", 1.25),
    faster("ViT-S/16 inference, batch 16, float32", 1.0),
    Goal("JPEG folder", f"at least {TIMES_IMAGE_FOLDER} times ImageFolder with DataLoader", pictures),
    Goal("start-up", f"help under {SECONDS_OF_HELP} s; no peer's first step sooner", start),
    accurate("mnist-fast", 0.9846, 60, 5),
    accurate("mnist", 0.995, 900, 3),
    accurate("mnist-best", 0.997, None, 3),
    accurate("cifar10-fast", 0.8, 1800, 3),
    accurate("cifar10-minute", 0.9358, 60, 3),
    accurate("cifar10", 0.955, 600, 3),
    *(
        swift(case, wanted)
        for case, wanted in zip((MNIST, *VITS[:3]), (500_000, 10_000, 3_900, 1_250), strict=True)
    ),
    *(faster(case.name, 1.3 if case.work == "training" else 1.2) for case in VITS),
]
"""Those of images a second and what follows them, `cifar10-minute` and `cifar10` are for one H200."""


def main() -> None:
    """Prints the table and writes it."""
    lines = ["| case | goal | measured | met | where and when |", "|---" * 5 + "|"]
    for goal in GOALS:
        judged = goal.judge() or Judged("not measured", False, "")
        met = ("yes" if judged.is_met else "no") if judged.where else "open"
        lines.append(f"| {goal.what} | {goal.wanted} | {judged.measured} | {met} | {judged.where} |")
    text = "\n".join(lines)
    print(text)
    record.write_text("goals.md", f"# Goals\n\n{text}")


def _speeds(case: str) -> tuple[list[Row], str] | None:
    """The newest of the machines that goals are for, and where and when that was."""
    recorded = record.read("speed.json").get(case, {})
    those = [measured for machine, measured in recorded.items() if is_for_goals(machine)]
    if not those:
        return None
    newest = max(those, key=lambda measured: str(measured["title"]))  # which begins with the date
    return read_rows(newest), record.where(newest["title"])


def _all_of(places: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(places))


def _ours(rows: list[Row]) -> Row:
    return next(row for row in rows if row.opponent == OURS)


if __name__ == "__main__":
    main()
