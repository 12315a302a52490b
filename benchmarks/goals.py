"""What this project wants to reach, beside what the benchmarks last recorded.

    python -m benchmarks.goals

Speeds are those of the fastest machine on record that the goals are for: two cores with AVX512, or an H200.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import record
from benchmarks.accuracy import recorded
from benchmarks.opponents import OURS, STARTING_DOCUMENT
from benchmarks.settings import Case
from benchmarks.speed import Row, best_opponent, read_rows
from benchmarks.speed_gpu import MNIST, VITS
from benchmarks.start import HELP
from benchmarks.turns import Spread, ratio

from vision_transformers.recipes.table import RECIPES

ENOUGH_OF_CEILING = 0.8
"""A ratio counts as met, too, at this share of what the matrix products and fused attention alone allow."""
MACHINES = (("AVX512", "NVIDIA H200"), (", 2 threads", "NVIDIA"))
"""That goals are for: each of these has one of its words in the machine's name."""
TIMES_IMAGE_FOLDER = 1.5
SECONDS_OF_HELP = 0.3


@dataclass(frozen=True)
class Goal:
    """Something to reach."""

    what: str
    wanted: str
    judge: Callable[[], tuple[str, bool] | None]
    """What was measured, and whether that is enough; None where nothing was."""


def faster(case: str, wanted: float) -> Goal:
    """So many times as fast as the best opponent, or near enough to the ceiling, where it was measured."""

    def judge() -> tuple[str, bool] | None:
        rows = _speeds(case)
        if rows is None:
            return None
        best = best_opponent(rows)
        ours = _ours(rows)
        times = best.ours_is_times_as_fast
        measured = f"{times.median:.3f} ({times.lower:.2f} to {times.upper:.2f}) of {best.opponent}"
        if ours.share_of_ceiling is None:
            return measured, times.median >= wanted
        is_met = times.median >= wanted or ours.share_of_ceiling >= ENOUGH_OF_CEILING
        return f"{measured}; {ours.share_of_ceiling:.0%} of the ceiling", is_met

    wanted_in_words = (
        f"at least {wanted:g} times the best opponent, or {ENOUGH_OF_CEILING:.0%} of the ceiling"
    )
    return Goal(case, wanted_in_words, judge)


def swift(case: Case, wanted: int) -> Goal:
    """So many images a second."""

    def judge() -> tuple[str, bool] | None:
        rows = _speeds(case.name)
        if rows is None:
            return None
        ours = _ours(rows).images_per_second
        return f"{ours.median:,.0f} ({ours.lower:,.0f} to {ours.upper:,.0f})", ours.median >= wanted

    return Goal(case.name, f"at least {wanted:,} images a second", judge)


def beside_the_start(case: str, wanted: float) -> Goal:
    """So many times as fast as the starting document's model."""

    def judge() -> tuple[str, bool] | None:
        rows = _speeds(case)
        if rows is None:
            return None
        times = next(row for row in rows if row.opponent == STARTING_DOCUMENT).ours_is_times_as_fast
        return str(times), times.median >= wanted

    return Goal(case, f"at least {wanted:g} times the starting document's model", judge)


def accurate(recipe: str, wanted: float, seconds: float | None, seeds: int) -> Goal:
    """So right, as a mean over seeds, in so many seconds, as their median."""

    def judge() -> tuple[str, bool] | None:
        runs = recorded(recipe) if recipe in RECIPES else []
        if len(runs) < seeds:
            return None
        accuracies = [run["test_accuracy"] for run in runs]
        accuracy = statistics.fmean(accuracies)
        took = statistics.median(run["seconds"] for run in runs)
        spread = f"{min(accuracies):.2%} to {max(accuracies):.2%}, {len(runs)} seeds"
        return f"{accuracy:.2%} ({spread}) in {took:.0f} s", accuracy >= wanted and took <= (seconds or took)

    limit = f" in at most {seconds:g} s" if seconds else ""
    return Goal(f"vit train {recipe}", f"{wanted:.2%}{limit}", judge)


def pictures() -> tuple[str, bool] | None:
    """The JPEG pipeline, by its worst ratio."""
    rows = record.read("pictures.json").get("rows", [])
    if not rows:
        return None
    ratios = [Spread(**row["ratio"]) for row in rows]
    listed = [
        f"{times} ({row['kind']}, {row['workers']} workers)" for times, row in zip(ratios, rows, strict=True)
    ]
    return "; ".join(listed), min(times.median for times in ratios) >= TIMES_IMAGE_FOLDER


def start() -> tuple[str, bool] | None:
    """The help, and the first training step beside each peer's, round by round."""
    seconds = record.read("start.json").get("seconds")
    if seconds is None:
        return None
    shown = statistics.median(seconds.pop(HELP))
    times = {name: ratio(theirs, seconds[OURS]) for name, theirs in seconds.items() if name != OURS}
    steps = "; ".join(f"{name} {spread}" for name, spread in times.items())
    is_met = shown < SECONDS_OF_HELP and min(spread.median for spread in times.values()) >= 1
    return f"help {shown:.2f} s; others' first steps take times ours: {steps}", is_met


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
    lines = ["| case | goal | measured | met |", "|---" * 4 + "|"]
    for goal in GOALS:
        judged = goal.judge()
        measured, met = (
            ("not measured", "open") if judged is None else (judged[0], "yes" if judged[1] else "no")
        )
        lines.append(f"| {goal.what} | {goal.wanted} | {measured} | {met} |")
    text = "\n".join(lines)
    print(text)
    record.write_text("goals.md", f"# Goals\n\n{text}")


def _speeds(case: str) -> list[Row] | None:
    """Of the machines that goals are for, on the one on which our model was fastest."""
    recorded = record.read("speed.json").get(case, {})
    machines = [
        read_rows(measured)
        for machine, measured in recorded.items()
        if all(any(word in machine for word in words) for words in MACHINES)
    ]
    return max(machines, key=lambda rows: _ours(rows).images_per_second.median, default=None)


def _ours(rows: list[Row]) -> Row:
    return next(row for row in rows if row.opponent == OURS)


if __name__ == "__main__":
    main()
