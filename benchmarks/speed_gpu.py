"""Speeds on a GPU beside timm's, both compiled, in one run.

    python -m benchmarks.speed_gpu [--rounds N] [--waves N ...]

Each model is in a process of its own (`benchmarks.workers`): those of one wave compile at the same time, then
take turns, several steps each. Weights and activations are bfloat16 for both; of ViT-S/16 training there is
autocast, too. Steps are recorded as CUDA graphs, both models': a CPU would take longer to start the kernels
of small ones than a GPU to compute them. The ceiling is the time of our model's matrix products and of the
fastest fused attention, alone. Writes into benchmarks/results/speed.json and speed.md.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from benchmarks.architectures import ARCHITECTURES
from benchmarks.opponents import OURS
from benchmarks.settings import Case, Setting, settle_compiler
from benchmarks.speed import Row, products_of, rows_of, table, title, write
from benchmarks.turns import number_of_rounds
from benchmarks.workers import Worker

from vision_transformers.errors import UsageFailure
from vision_transformers.evaluation.matrix_products import seconds_of
from vision_transformers.runtime.device import resolve_device

WEIGHTS = {
    OURS: Setting("bfloat16-weights", "own", compile=True, recorded=True),
    "timm": Setting("bfloat16-weights", "fused", compile=True, recorded=True),
}
AUTOCAST = {name: replace(setting, numbers="bfloat16") for name, setting in WEIGHTS.items()}
BATCHES = {"S": 512, "B": 256, "L": 128}
MNIST = Case(ARCHITECTURES["MNIST"], "training", 4096)
VITS = [
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "training", batch) for size, batch in BATCHES.items()),
    *(Case(ARCHITECTURES[f"ViT-{size}/16"], "inference", 2 * batch) for size, batch in BATCHES.items()),
]
IN_AUTOCAST = replace(VITS[0], numbers=("bfloat16",))
Wave = list[tuple[Case, dict[str, Setting]]]
WAVES: list[Wave] = [
    [(case, WEIGHTS) for case in (MNIST, *VITS)],
    [(IN_AUTOCAST, AUTOCAST)],
]
"""The first holds 120 GB of a GPU."""
STEPS = {"training": 10, "inference": 20}
"""In one turn."""


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=11)
    parser.add_argument("--waves", type=int, nargs="*", choices=range(len(WAVES)), default=range(len(WAVES)))
    options = parser.parse_args()
    try:
        device = resolve_device("cuda")
    except UsageFailure as failure:
        parser.error(str(failure))
    settle_compiler()
    print(title(device), flush=True)
    for number in options.waves:
        measured = measure(WAVES[number], device, options.rounds)
        for (case, settings), rows in zip(WAVES[number], measured, strict=True):
            finished = with_ceiling(rows, case, settings[OURS], device)
            torch.cuda.empty_cache()
            write(finished, device, options.rounds)
            print(table(finished), flush=True)


def measure(wave: Wave, device: torch.device, rounds: int) -> list[list[Row]]:
    """Everybody of the wave, in turns; written at once, while shares of the ceiling are still missing."""
    workers = [[Worker(name, case, s, device) for name, s in settings.items()] for case, settings in wave]
    everybody = [worker for pair in workers for worker in pair]
    measured = []
    try:
        with ThreadPoolExecutor(len(everybody)) as pool:
            ready = dict(zip(everybody, pool.map(Worker.until_ready, everybody), strict=True))
        for worker, (memory, took) in ready.items():
            who = f"{worker.case.name}, {worker.opponent}"
            print(f"{who}: ready in {took:.0f} s, {memory:,.0f} MiB", flush=True)
        for pair, (case, settings) in zip(workers, wave, strict=True):
            memory_of = {worker.opponent: ready[worker][0] for worker in pair}
            rows = [
                replace(row, memory_mebibytes=memory_of[row.opponent])
                for row in rows_of(case, settings, seconds_of_turns(pair, rounds))
            ]
            write(rows, device, rounds)
            measured.append(rows)
    finally:
        for worker in everybody:
            worker.close()
    return measured


def with_ceiling(rows: list[Row], case: Case, setting: Setting, device: torch.device) -> list[Row]:
    """The rows with their shares of what our products alone, timed one by one, allow."""
    ceiling = seconds_of(products_of(case, setting, device))
    return [
        replace(row, share_of_ceiling=ceiling * row.images_per_second.median / case.batch) for row in rows
    ]


def seconds_of_turns(workers: list[Worker], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step of each opponent of one case, round by round, after one that does not count."""
    seconds: dict[str, list[float]] = {worker.opponent: [] for worker in workers}
    for turn in range(-1, rounds):
        for worker in workers if turn % 2 else workers[::-1]:
            steps = STEPS[worker.case.work]
            took = worker.seconds(steps) / steps
            if turn >= 0:
                seconds[worker.opponent].append(took)
    return seconds


if __name__ == "__main__":
    main()
