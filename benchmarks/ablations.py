"""What each choice in the model is worth: MNIST, one change at a time, judged on held-out training images.

    python -m benchmarks.ablations [--epochs N] [--seeds N] [--threads N] [--only NAME ...]

The model is the preset MNIST but for the change; all else is of the recipe `mnist-plain`, for fewer epochs.
What a run says of the test set is not read. Writes the table under benchmarks/results, as Markdown and JSON,
after each row.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from benchmarks import record

from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import preset
from vision_transformers.model.vit import ViT
from vision_transformers.recipes.table import find_recipe
from vision_transformers.report.metrics import read_metrics
from vision_transformers.training.train import train

BASE = preset("MNIST")
CHANGES: dict[str, dict[str, Any]] = {
    "the preset": {},
    "patches of 14 x 14 (4 tokens)": {"patch_shape": (14, 14)},
    "patches of 4 x 4 (49 tokens)": {"patch_shape": (4, 4)},
    "class token, not mean": {"pool": "class"},
    "learnable positions": {"positions": "learnable"},
    "no positions": {"positions": "none"},
    "1 layer": {"number_of_layers": 1},
    "2 layers": {"number_of_layers": 2},
    "8 layers": {"number_of_layers": 8},
    "1 head": {"number_of_heads": 1},
}


def main() -> None:
    """Trains all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(CHANGES), default=list(CHANGES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)  # as runs do
    rows = []
    for name in options.only:
        rows.append(
            measure(name, replace(BASE, **CHANGES[name]), options.epochs, options.seeds, options.threads)
        )
        write(rows, options)
        print(line(rows[-1]), flush=True)


def measure(name: str, model: ViTConfig, epochs: int, seeds: int, threads: int) -> dict[str, Any]:
    """Validation accuracies of some seeds, and seconds of training."""
    base = find_recipe("mnist-plain")
    # Every other seed has other held-out images too.
    recipes = [
        replace(
            base,
            model=model,
            epochs=epochs,
            seed=seed,
            threads=threads,
            data=replace(base.data, split_seed=seed),
        )
        for seed in range(seeds)
    ]
    accuracies, seconds = [], []
    for recipe in recipes:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            result = train(recipe, Path(folder) / "run")
            seconds.append(time.monotonic() - began)
            accuracies.append(read_metrics(result.folder / "metrics.jsonl")[-1]["validation_accuracy"])
    with torch.device("meta"):
        parameters = sum(value.numel() for value in ViT.from_config(model).parameters())
    return {"change": name, "accuracies": accuracies, "parameters": parameters, "seconds": seconds}


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Writes what there is so far."""
    name, title = f"ablations-{date.today()}", record.title(torch.device("cpu"))
    conditions = {"title": title, "epochs": options.epochs, "seeds": options.seeds}
    record.write(f"{name}.json", {**conditions, "rows": rows})
    head = (
        f"MNIST, {options.epochs} epochs of the recipe `mnist-plain`, {options.seeds} seeds; {title}. "
        "Accuracy on held-out training images.\n\n"
        "| change | mean accuracy | each seed | parameters | seconds |\n| --- | --- | --- | --- | --- |\n"
    )
    record.write_text(f"{name}.md", head + "\n".join(line(row) for row in rows))


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    each = ", ".join(f"{accuracy:.2%}" for accuracy in row["accuracies"])
    cells = (
        row["change"],
        f"{fmean(row['accuracies']):.2%}",
        each,
        f"{row['parameters']:,}",
        f"{fmean(row['seconds']):.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
