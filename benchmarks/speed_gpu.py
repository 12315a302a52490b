"""Speeds on a GPU beside timm's, both compiled, in one run.

    python -m benchmarks.speed_gpu [--rounds N]

Each model is in a process of its own (`benchmarks.workers`): those of one wave compile at the same time, then
take turns, several steps each. Weights and activations are bfloat16 for both; of ViT-S/16 training there is
autocast, too. The ceiling is the time of our model's matrix products alone. Writes into
benchmarks/results/speed.json and speed.md.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from benchmarks.architectures import ARCHITECTURES
from benchmarks.opponents import OPPONENTS, OURS
from benchmarks.settings import Case, Setting
from benchmarks.speed import Row, ceiling_of, table, title, write
from benchmarks.turns import Spread, number_of_rounds, ratio
from benchmarks.workers import Worker

from vision_transformers.runtime.device import resolve_device

WEIGHTS = {
    OURS: Setting("bfloat16-weights", "own", compile=True),
    "timm": Setting("bfloat16-weights", "fused", compile=True),
}
AUTOCAST = {
    OURS: Setting("bfloat16", "own", compile=True),
    "timm": Setting("bfloat16", "fused", compile=True),
}
BATCHES = {"S": 512, "B": 256, "L": 128}
MNIST = Case(ARCHITECTURES["MNIST"], "training", 4096)
VITS = [
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "training", batch) for size, batch in BATCHES.items()),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "inference", 2 * batch) for size, batch in BATCHES.items()),
]
GPU_CASES = [MNIST, *VITS, replace(VITS[0], numbers=("bfloat16",))]
Wave = list[tuple[Case, dict[str, Setting]]]
WAVES: list[Wave] = [
    [(case, WEIGHTS) for case in VITS if case.work == "training"],
    [
        *((case, WEIGHTS) for case in GPU_CASES if case.work == "inference" or case is MNIST),
        (GPU_CASES[-1], AUTOCAST),
    ],
]
STEPS = {"training": 5, "inference": 10}
"""In one turn."""


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=11)
    parser.add_argument("--waves", type=int, nargs="*", default=range(len(WAVES)))
    options = parser.parse_args()
    device = resolve_device("cuda")
    print(title(device), flush=True)
    for number in options.waves:
        measured = measure(WAVES[number], device, options.rounds)
        for (case, settings), rows in zip(WAVES[number], measured, strict=True):
            ceiling = ceiling_of(case, settings[OURS], device)
            torch.cuda.empty_cache()
            finished = [row_of(row, ceiling, case.batch) for row in rows]
            write(finished, device)
            print(table(finished), flush=True)


def measure(
    wave: list[tuple[Case, dict[str, Setting]]], device: torch.device, rounds: int
) -> list[list[Row]]:
    """Everybody of the wave, in turns; shares of the ceiling are still missing."""
    workers = [[Worker(name, case, s, device) for name, s in settings.items()] for case, settings in wave]
    everybody = [worker for pair in workers for worker in pair]
    try:
        with ThreadPoolExecutor(len(everybody)) as pool:
            ready = dict(zip(everybody, pool.map(Worker.until_ready, everybody), strict=True))
        for worker, (memory, seconds) in ready.items():
            print(
                f"{worker.case.name}, {worker.opponent}: ready in {seconds:.0f} s, {memory:,.0f} MiB",
                flush=True,
            )
        return [take_turns(pair, {worker: ready[worker][0] for worker in pair}, rounds) for pair in workers]
    finally:
        for worker in everybody:
            worker.close()


def take_turns(workers: list[Worker], memory: dict[Worker, float], rounds: int) -> list[Row]:
    """The opponents of one case."""
    case = workers[0].case
    seconds: dict[str, list[float]] = {worker.opponent: [] for worker in workers}
    for turn in range(-1, rounds):
        for worker in workers if turn % 2 else workers[::-1]:
            took = worker.seconds(STEPS[case.work]) / STEPS[case.work]
            if turn >= 0:
                seconds[worker.opponent].append(took)
    return [
        Row(
            case.name,
            worker.opponent,
            str(worker.setting),
            Spread.of([case.batch / each for each in seconds[worker.opponent]]),
            ratio(seconds[worker.opponent], seconds[OURS]),
            0.0,
            memory[worker],
            OPPONENTS[worker.opponent].difference,
        )
        for worker in workers
    ]


def row_of(row: Row, ceiling: float, batch: int) -> Row:
    """With its share of the ceiling, whose seconds are given."""
    return replace(row, share_of_ceiling=ceiling * row.images_per_second.median / batch)


if __name__ == "__main__":
    main()
