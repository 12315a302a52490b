"""How right the recipes are, and how soon: `vit train RECIPE --seed N`, from typing it to its end.

    python -m benchmarks.accuracy RECIPE ... [--seeds N] [--first SEED]

Accuracy is that of the test images, looked at once, by the weights that a run ends with; seconds are those of
the whole command. Each run goes into benchmarks/results/accuracy.json when it ends, in the place of an
earlier run of the same seed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed import title

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    options = parser.parse_args()
    print(title(torch.device("cpu")))
    for recipe in options.recipes:
        for seed in range(options.first, options.first + options.seeds):
            found = run(recipe, seed)
            accuracy, seconds = found["test_accuracy"], found["seconds"]
            print(f"{recipe}, seed {seed}: {accuracy:.2%} in {seconds:.1f} s", flush=True)
            runs = add(recipe, found)
        accuracies = [each["test_accuracy"] for each in runs]
        median = statistics.median(each["seconds"] for each in runs)
        print(
            f"{recipe}: {len(runs)} seeds, mean {statistics.fmean(accuracies):.2%}, "
            f"median {statistics.median(accuracies):.2%} "
            f"({min(accuracies):.2%} to {max(accuracies):.2%}), median {median:.1f} s"
        )


def add(recipe: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Records a run; all runs of the recipe."""
    file = RESULTS / "accuracy.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    others = [each for each in record.get(recipe, []) if each["seed"] != found["seed"]]
    record[recipe] = sorted([*others, found], key=lambda each: each["seed"])
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    runs: list[dict[str, Any]] = record[recipe]
    return runs


def run(recipe: str, seed: int) -> dict[str, Any]:
    """One run: its seconds, and its last row of metrics."""
    vit = str(Path(sys.executable).with_name("vit"))
    with tempfile.TemporaryDirectory() as folder:
        command = [vit, "train", recipe, "--seed", str(seed), "--run-folder", f"{folder}/run"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        rows = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    measured = {"title": title(torch.device("cpu")), "seconds": seconds}
    return {"seed": seed, **measured, **json.loads(rows[-1])}


if __name__ == "__main__":
    main()
