"""What weights from other classes are worth: ways to fine-tune, beside training from scratch.

    python -m benchmarks.finetuning CIFAR10_JPEG [--work DIR] [--seeds N] [--sizes N ...] [--data four digits]
        [--threads N]

A small ViT learns six classes of CIFAR-10's JPEG files (CIFAR10_JPEG/train/<class>/*.jpg). Then it is
fine-tuned to pictures that it has not seen: the other four classes, and MNIST's digits as RGB at 28 x 28, of
so many training pictures a class. Every way takes 200 steps of 50 pictures; its learning rate is the better
of two on held-out training pictures, and its accuracy is that on the test pictures, mean over seeds, of the
last weights. Writes the table under benchmarks/results after each row; runs that are in DIR already are not
trained anew.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from benchmarks import record
from PIL import Image
from torchvision.datasets import MNIST

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.places import data_folders
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.config import LowRankConfig, ViTConfig
from vision_transformers.training.recipe import Optimizer, Probe, Recipe
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.train import Result, resume, train

SIX = ("airplane", "bird", "cat", "deer", "frog", "ship")
FOUR = ("automobile", "dog", "horse", "truck")
HELD_OUT, TESTED = 50, 500
"""Pictures of each class."""
MODEL = ViTConfig((4, 4), 96, 4, 4, 192, 3, 0, (32, 32), pool="mean")


@dataclass(frozen=True)
class Way:
    """A way to come to a classifier."""

    name: str
    learning_rates: tuple[float, float]
    layer_decay: float = 1.0
    changes: tuple[tuple[str, Any], ...] = ()
    """Of the recipe."""
    is_from_scratch: bool = False


WAYS = (
    Way("from scratch", (1e-3, 3e-3), is_from_scratch=True),
    Way("all weights", (3e-4, 1e-3)),
    Way("all weights, layer decay 0.75", (5e-4, 2e-3), layer_decay=0.75),
    Way("head first, a fifth of the steps, then all", (3e-4, 1e-3), changes=(("probe", Probe(0.2, 3e-3)),)),
    Way("first 2 of 4 encoders frozen", (3e-4, 1e-3), changes=(("frozen_layers", 2),)),
    Way("LoRA, rank 8, query and value", (1e-3, 5e-3), changes=(("low_rank", LowRankConfig(8)),)),
    Way(
        "LoRA, rank 8, everywhere",
        (1e-3, 5e-3),
        changes=(
            (
                "low_rank",
                LowRankConfig(8, parts=("query", "key", "value", "projection", "feed-forward")),
            ),
        ),
    ),
    Way("head alone", (1e-3, 1e-2), changes=(("frozen", "body"),)),
)


def main() -> None:
    """Trains all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cifar10_jpeg", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--data", nargs="*", choices=["four", "digits"], default=["four", "digits"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)  # as runs do
    options.work.mkdir(parents=True, exist_ok=True)
    source = first_stage(options)
    print(f"first stage: {source.metrics['test_accuracy']:.2%} of its test pictures", flush=True)
    rows: list[dict[str, Any]] = []
    for pictures in data_sets(options):
        for way in WAYS:
            rows.append(measure(way, pictures, source.folder, options))
            rows[-1] |= {"data": pictures.name, "pictures_per_class": pictures.size}
            print(line(rows[-1]), flush=True)
            write(rows, source.metrics["test_accuracy"], options)


def first_stage(options: argparse.Namespace) -> Result:
    """The run on six classes."""
    folder = options.work / "six"
    parts = (("train", "train", 0, 5000), ("test", "test", 0, 1000))
    for part, origin, begin, end in parts:
        link(options.cifar10_jpeg / origin, folder / part, SIX, begin, end)
    six = Pictures("six classes of CIFAR-10", 5000, folder, (32, 32), flip=True)
    recipe = replace(recipe_for(six, options), epochs=5, batch_size=128, optimizer=Optimizer("adamw", 1e-3))
    return trained(recipe, options.work / "source")


def trained(recipe: Recipe, folder: Path) -> Result:
    """What the run gives, of an earlier call if it is there."""
    return resume(folder, recipe) if RunFolder(folder).is_begun else train(recipe, folder)


@dataclass(frozen=True)
class Pictures:
    """A data set in a folder."""

    name: str
    size: int
    """Training pictures of each class."""
    folder: Path
    image_shape: tuple[int, int]
    flip: bool
    """Whether a picture may be mirrored."""


def data_sets(options: argparse.Namespace) -> Iterator[Pictures]:
    """Each second data set."""
    for size in options.sizes if "four" in options.data else ():
        folder = options.work / f"four-{size}"
        train_end = 5000 - HELD_OUT
        link(options.cifar10_jpeg / "train", folder / "train", FOUR, 0, size)
        link(options.cifar10_jpeg / "train", folder / "val", FOUR, train_end, 5000)
        link(options.cifar10_jpeg / "test", folder / "test", FOUR, 0, TESTED)
        yield Pictures("four classes of CIFAR-10", size, folder, (32, 32), flip=True)
    for size in options.sizes if "digits" in options.data else ():
        folder = options.work / f"digits-{size}"
        draw_digits(folder, size)
        yield Pictures("MNIST as RGB, 28 x 28", size, folder, (28, 28), flip=False)


def link(origin: Path, target: Path, classes: tuple[str, ...], begin: int, end: int) -> None:
    """Links some pictures of each class, by their sorted names, that are not linked yet."""
    for name in classes:
        (target / name).mkdir(parents=True, exist_ok=True)
        for file in sorted((origin / name).iterdir())[begin:end]:
            if not (target / name / file.name).is_symlink():
                (target / name / file.name).symlink_to(file.resolve())


def draw_digits(folder: Path, size: int) -> None:
    """Writes digits of MNIST as RGB pictures."""
    root = next(
        place for place in data_folders(DataSource(name="mnist")) if (Path(place) / "MNIST/raw").exists()
    )
    training, test = MNIST(root, train=True), MNIST(root, train=False)
    parts = (
        ("train", training, 0, size),
        ("val", training, 5000, 5000 + HELD_OUT),
        ("test", test, 0, TESTED),
    )
    for part, data, begin, end in parts:
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True, exist_ok=True)
            for index in torch.nonzero(data.targets == digit).flatten()[begin:end].tolist():
                picture = Image.fromarray(data.data[index].numpy()).convert("RGB")
                picture.save(folder / part / str(digit) / f"{index:05d}.png")


def recipe_for(pictures: Pictures, options: argparse.Namespace) -> Recipe:
    """What all runs share."""
    image_shape = pictures.image_shape
    return Recipe(
        name="finetuning",
        model=replace(MODEL, max_image_shape=image_shape),
        data=DataSource(name="folder", path=str(pictures.folder), validation_fraction=0.0, workers=0),
        preprocessing=Preprocessing(
            size=image_shape, channels=3, crop="squash", mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26)
        ),
        augmentation=Augmentation(resized_crop=(0.6, 1.0), flip=pictures.flip),
        steps=None,
        batch_size=50,
        precision="bfloat16",
        threads=options.threads,
        label_smoothing=0.1,
        evaluate_epochs=10**6,
        checkpoint_seconds=0.0,
    )


def measure(way: Way, pictures: Pictures, source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The better learning rate on held-out pictures, and with it the test accuracies of all seeds."""

    def accuracy(rate: float, seed: int, part: str) -> float:
        init: dict[str, Any] = {"init": str(source), "init_image_shape": pictures.image_shape}
        recipe = replace(
            recipe_for(pictures, options),
            steps=200,
            seed=seed,
            optimizer=Optimizer("adamw", rate, layer_decay=way.layer_decay),
            **({} if way.is_from_scratch else init),
            **dict(way.changes),
        )
        name = f"{pictures.folder.name}-{WAYS.index(way)}-{rate:g}-{seed}"
        return float(trained(recipe, options.work / name).metrics[f"{part}_accuracy"])

    rate = max(way.learning_rates, key=lambda rate: accuracy(rate, 1000, "validation"))
    accuracies = [accuracy(rate, seed, "test") for seed in range(options.seeds)]
    return {"way": way.name, "learning_rate": rate, "accuracies": accuracies}


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    values = row["accuracies"]
    spread = f"{min(values):.2%} to {max(values):.2%}"
    return (
        f"| {row['data']} | {row['pictures_per_class']} | {row['way']} | {row['learning_rate']:g} "
        f"| {fmean(values):.2%} | {spread} |"
    )


def write(rows: list[dict[str, Any]], first_stage_accuracy: float, options: argparse.Namespace) -> None:
    """The table so far, for people and programs."""
    title = f"{record.title(torch.device('cpu'))}, {options.seeds} seeds"
    head = "| data | pictures a class | way | learning rate | test accuracy | from, to |\n" + "|---" * 6 + "|"
    first = f"First stage, six classes: {first_stage_accuracy:.2%} of their test pictures."
    text = "\n".join([f"# Fine-tuning\n\n{title}\n\n{first}\n", head, *map(line, rows)])
    record.write_text("finetuning.md", text)
    content = {"title": title, "first_stage_accuracy": first_stage_accuracy, "rows": rows}
    record.write("finetuning.json", content)


if __name__ == "__main__":
    main()
