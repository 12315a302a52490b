"""How right the recipes are, and how soon: `vit train RECIPE --seed N`, from typing it to its end.

    python -m benchmarks.accuracy RECIPE ... [--seeds N] [--first SEED]

Accuracy is that of the test images, looked at once, by the weights that a run ends with; seconds are those of
the whole command. Each run goes into benchmarks/results/accuracy.json when it ends, in the place of an
earlier run of the same seed, and of all runs of a recipe that has changed since.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import record

from vision_transformers.config import to_json
from vision_transformers.recipes.table import RECIPES
from vision_transformers.runtime.device import resolve_device

NAME = "accuracy.json"


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="+", choices=RECIPES, metavar="RECIPE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    options = parser.parse_args()
    print(record.title(resolve_device("auto")))
    for recipe in options.recipes:
        for seed in range(options.first, options.first + options.seeds):
            found = run(recipe, seed)
            accuracy, seconds = found["test_accuracy"], found["seconds"]
            print(f"{recipe}, seed {seed}: {accuracy:.2%} in {seconds:.1f} s", flush=True)
            add(recipe, found)
        machine = record.machine(resolve_device("auto"))
        runs = [each for each in recorded(recipe) if record.machine_of(each["title"]) == machine]
        accuracies = [each["test_accuracy"] for each in runs]
        median = statistics.median(each["seconds"] for each in runs)
        print(
            f"{recipe}: {len(runs)} seeds, mean {statistics.fmean(accuracies):.2%}, "
            f"median {statistics.median(accuracies):.2%} "
            f"({min(accuracies):.2%} to {max(accuracies):.2%}), median {median:.1f} s"
        )


def add(recipe: str, found: dict[str, Any]) -> None:
    """Records a run, in the place of an earlier one of its seed on such a machine."""

    def identity(run: dict[str, Any]) -> tuple[int, str]:
        return run["seed"], record.machine_of(run["title"])

    others = [each for each in recorded(recipe) if identity(each) != identity(found)]
    runs = sorted([*others, found], key=lambda each: int(each["seed"]))
    record.write(NAME, record.read(NAME) | {recipe: runs})


def recorded(recipe: str) -> list[dict[str, Any]]:
    """The runs of the recipe as it is now."""
    now = digest(recipe)
    return [each for each in record.read(NAME).get(recipe, []) if each["recipe"] == now]


def digest(recipe: str) -> str:
    """Of everything that a recipe asks for, whatever it is called."""
    asked = {name: value for name, value in to_json(RECIPES[recipe]()).items() if name != "name"}
    text = json.dumps(asked, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(recipe: str, seed: int) -> dict[str, Any]:
    """One run: its seconds, and its last row of metrics."""
    vit = [sys.executable, "-m", "vision_transformers"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*vit, "train", recipe, "--seed", str(seed), "--run-folder", f"{folder}/run"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        rows = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    measured = {"title": record.title(resolve_device("auto")), "recipe": digest(recipe), "seconds": seconds}
    return {"seed": seed, **measured, **json.loads(rows[-1])}


if __name__ == "__main__":
    main()
