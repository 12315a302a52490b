"""How right the recipes are, and how soon: `vit train RECIPE --seed N`, from typing it to its end.

    python -m benchmarks.accuracy RECIPE ... [--seeds N]

Accuracy is that of the test images, looked at once, by the weights that a run ends with; seconds are those of
the whole command. Adds to benchmarks/results/accuracy.json.
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
    options = parser.parse_args()
    file = RESULTS / "accuracy.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    print(title(torch.device("cpu")))
    for recipe in options.recipes:
        runs = []
        for seed in range(options.seeds):
            runs.append(run(recipe, seed))
            print(
                f"{recipe}, seed {seed}: {runs[-1]['test_accuracy']:.2%} in {runs[-1]['seconds']:.1f} s",
                flush=True,
            )
        accuracies = [each["test_accuracy"] for each in runs]
        median = statistics.median(each["seconds"] for each in runs)
        print(
            f"{recipe}: mean {statistics.fmean(accuracies):.2%}, median {statistics.median(accuracies):.2%} "
            f"({min(accuracies):.2%} to {max(accuracies):.2%}), median {median:.1f} s"
        )
        record[recipe] = {"title": title(torch.device("cpu")), "runs": runs}
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run(recipe: str, seed: int) -> dict[str, Any]:
    """One run: its seconds, and its last row of metrics."""
    vit = str(Path(sys.executable).with_name("vit"))
    with tempfile.TemporaryDirectory() as folder:
        command = [vit, "train", recipe, "--seed", str(seed), "--run-folder", f"{folder}/run"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        rows = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {"seed": seed, "seconds": seconds, **json.loads(rows[-1])}


if __name__ == "__main__":
    main()
