"""From JPEG files to batches: this project's pipeline beside ImageFolder with DataLoader, in turns.

    python -m benchmarks.pictures [--folder PATH/<class>/*] [--rounds N] [--workers N ...]

Two kinds of files: photographs (crops of the two that scikit-learn ships, 500 x 375) resized and cropped at
random to 224 x 224, and files of 32 x 32 pixels (`--folder`, such as CIFAR-10 as JPEG) shifted and mirrored.
Everybody reads the same files in the same order. What is read without variations is compared, too: the same
pictures come out. ImageFolder is measured twice, with variations of Pillow's pictures and of tensors, and
compared with is whichever is faster. Starting and ending the workers counts, looking for the files does not.
Writes benchmarks/results/pictures.json, where rows that are not measured anew stay.
"""

import argparse
import cProfile
import pstats
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import record
from benchmarks.turns import Spread, number_of_rounds, ratio, take_turns
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.batches import evaluation_batches, training_batches
from vision_transformers.data.folder import read_folder
from vision_transformers.data.images import Images
from vision_transformers.data.order import Order
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.runtime.allocation import keep_freed_memory

NAME = "pictures.json"
LIBRARIES = ("torch", "torchvision")
CPU = torch.device("cpu")
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHOTOGRAPHS = 1280
MOST = 6400
"""Images that one turn reads at most."""


def main() -> None:
    """Measures both kinds, with and without loader workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="files of 32 x 32 pixels, by class")
    parser.add_argument("--rounds", type=number_of_rounds, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    options = parser.parse_args()
    keep_freed_memory()  # everybody's, as `vit train` does
    title = record.title(CPU, LIBRARIES)
    print(title)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder))
        kinds: list[tuple[str, Path, int, Augmentation, list[Any]]] = [
            (
                "photographs, 500 x 375, cropped to 224 x 224",
                Path(folder),
                224,
                Augmentation(resized_crop=(0.08, 1.0), flip=True),
                [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()],
            )
        ]
        if options.folder:
            kinds.append(
                (
                    "32 x 32, shifted",
                    options.folder,
                    32,
                    Augmentation(shift=4, flip=True),
                    [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
                )
            )
        for name, path, size, augmentation, variations in kinds:
            for workers in options.workers:
                row = measure(path, size, augmentation, variations, workers, options.rounds)
                add({"kind": name, "workers": workers, "title": title, **row})
                print(
                    f"{name}, {workers} workers: ours {row['ours']:,.0f}, ImageFolder with DataLoader "
                    f"{row['theirs']:,.0f} images a second (variations of {row['their_way']}), "
                    f"ratio {Spread(**row['ratio'])}; "
                    f"largest difference of pixels without variations {row['difference']:.4f}",
                    flush=True,
                )


def add(row: dict[str, Any]) -> None:
    """Records a row in the place of an earlier one of its kind on this machine."""

    def identity(row: dict[str, Any]) -> tuple[str, int, str]:
        return row["kind"], row["workers"], record.machine_of(row["title"])

    rows = record.read(NAME).get("rows", [])
    record.write(NAME, {"rows": [*(each for each in rows if identity(each) != identity(row)), row]})


def write_photographs(folder: Path) -> None:
    """Files of 500 x 375 pixels, cut from anywhere in two photographs, in two classes."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for index in range(PHOTOGRAPHS):
        photograph = Image.fromarray(load_sample_images().images[index % 2])
        left = int(generator.integers(0, photograph.width - 500 + 1))
        top = int(generator.integers(0, photograph.height - 375 + 1))
        path = folder / "train" / ("first", "second")[index % 2] / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph.crop((left, top, left + 500, top + 375)).save(path, quality=90)


def measure(
    folder: Path, size: int, augmentation: Augmentation, variations: list[Any], workers: int, rounds: int
) -> dict[str, Any]:
    """Images a second of both, their ratio by pairs, and where our time goes."""
    preprocessing = Preprocessing(size=(size, size), channels=3, mean=MEAN, std=STD)
    images = read_folder(DataSource(name="folder", path=str(folder), test_fraction=0.0)).train
    batches = min(len(images), MOST) // BATCH
    order = Order(0, len(images), BATCH)
    root = folder / "train" if (folder / "train").is_dir() else folder

    def ours() -> None:
        for _ in training_batches(images, preprocessing, augmentation, order, 0, batches, CPU, workers):
            pass

    indices = torch.cat([order.indices(batch) for batch in range(batches)]).tolist()

    def theirs(pictures: ImageFolder) -> None:
        for _ in DataLoader(pictures, BATCH, sampler=indices, num_workers=workers):
            pass

    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    ways = {
        "Pillow's pictures": v2.Compose([*variations, v2.ToImage(), *floats]),
        "tensors": v2.Compose([v2.ToImage(), *variations, *floats]),
    }
    their_ways = {way: partial(theirs, ImageFolder(root, transform)) for way, transform in ways.items()}
    seconds = take_turns({"ours": ours, **their_ways}, CPU, rounds, warm_up=1)
    medians = {name: Spread.of(values).median for name, values in seconds.items()}
    best = min(ways, key=medians.__getitem__)
    plain = ImageFolder(root, v2.Compose([v2.Resize((size, size)), v2.ToImage(), *floats]))
    return {
        "ours": batches * BATCH / medians["ours"],
        "theirs": batches * BATCH / medians[best],
        "their_way": best,
        "ratio": asdict(ratio(seconds[best], seconds["ours"])),
        "ratios": {way: str(ratio(seconds[way], seconds["ours"])) for way in ways},
        "difference": difference(images, preprocessing, plain),
        "where": profile(ours) if workers == 0 else {},
    }


def difference(images: Images, preprocessing: Preprocessing, plain: ImageFolder) -> float:
    """The largest between one batch of both without variations, in normalised pixels."""
    ours = next(iter(evaluation_batches(images, preprocessing, BATCH, CPU, 0))).images
    theirs = next(iter(DataLoader(plain, BATCH)))[0]
    return float((ours - theirs).abs().max())


def profile(read: Callable[[], None]) -> dict[str, float]:
    """Share of our time in each function, by the profiler; those above 3 %."""
    profiler = cProfile.Profile()
    profiler.runcall(read)
    stats = pstats.Stats(profiler)
    total = stats.total_tt  # type: ignore[attr-defined]
    shares = {name[2]: values[2] / total for name, values in stats.stats.items()}  # type: ignore[attr-defined]
    return {
        name: round(share, 3) for name, share in sorted(shares.items(), key=lambda x: -x[1]) if share > 0.03
    }


if __name__ == "__main__":
    main()
