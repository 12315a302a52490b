"""From pictures to batches: this project's pipeline beside torchvision's with DataLoader, in turns.

    python -m benchmarks.pictures [--folder PATH/<class>/*] [--rounds N] [--workers N ...]

Photographs (crops of the two that scikit-learn ships, 500 x 375) resized and cropped at random to 224 x 224;
files of 32 x 32 pixels (cut from the same, or those of `--folder`, such as CIFAR-10 as JPEG) shifted and
mirrored, beside ImageFolder; and pictures of 28 x 28 pixels in memory, shifted. Everybody reads the same
pictures in the same order. What is read without variations is compared, too: the same pixels come out.
ImageFolder is measured twice, with variations of Pillow's pictures and of tensors, and compared with is
whichever is faster. Starting and ending the workers counts, looking for the files does not. Without workers,
it is told where our time goes. Writes benchmarks/results/pictures.json and pictures.md, where rows that are
not measured anew stay.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import record
from benchmarks.stages import shares_of_stages
from benchmarks.turns import Spread, number_of_rounds, ratio, take_turns
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.batches import evaluation_batches, training_batches
from vision_transformers.data.folder import read_folder
from vision_transformers.data.images import Images, ImagesInMemory
from vision_transformers.data.order import Order
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.runtime.allocation import keep_freed_memory

NAME = "pictures.json"
LIBRARIES = ("torch", "torchvision")
CPU = torch.device("cpu")
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PICTURES = 1280
MOST = 6400
"""Images that one turn reads at most."""


@dataclass(frozen=True)
class Kind:
    """Pictures, and how they are varied by everybody."""

    name: str
    size: int
    augmentation: Augmentation
    variations: list[Any]
    """The same by torchvision."""


PHOTOGRAPHS = Kind(
    "photographs, 500 x 375, cropped to 224 x 224",
    224,
    Augmentation(resized_crop=(0.08, 1.0), flip=True),
    [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()],
)
SMALL = Kind(
    "32 x 32, shifted",
    32,
    Augmentation(shift=4, flip=True),
    [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
)
CUT_SMALL = replace(SMALL, name="32 x 32, cut from photographs, shifted")
IN_MEMORY = Kind("28 x 28 in memory, shifted", 28, Augmentation(shift=2), [v2.RandomCrop(28, padding=2)])


def main() -> None:
    """Measures all kinds, with and without loader workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="files of 32 x 32 pixels, by class")
    parser.add_argument("--rounds", type=number_of_rounds, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    options = parser.parse_args()
    keep_freed_memory()  # everybody's, as `vit train` does
    title = record.title(CPU, LIBRARIES)
    print(title)
    with tempfile.TemporaryDirectory() as temporary:
        large, small = Path(temporary) / "large", Path(temporary) / "small"
        write_photographs(large, PICTURES, (500, 375))
        if options.folder is None:
            write_photographs(small, MOST, (32, 32))
        of_files = [(PHOTOGRAPHS, large), (SMALL, options.folder) if options.folder else (CUT_SMALL, small)]
        for kind, folder in of_files:
            for workers in options.workers:
                tell(kind, workers, title, measure(kind, folder, workers, options.rounds))
    for workers in options.workers:
        tell(IN_MEMORY, workers, title, measure_in_memory(IN_MEMORY, workers, options.rounds))


def tell(kind: Kind, workers: int, title: str, row: dict[str, Any]) -> None:
    """Records a row, and prints it."""
    add({"kind": kind.name, "workers": workers, "title": title, **row})
    where = f"; {in_words(row['where'])}" if row["where"] else ""
    print(
        f"{kind.name}, {workers} workers: ours {row['ours']:,.0f}, theirs {row['theirs']:,.0f} images a "
        f"second ({row['their_way']}), ratio {Spread(**row['ratio'])}; largest difference of pixels without "
        f"variations {row['difference']:.4f}{where}",
        flush=True,
    )


def in_words(where: Mapping[str, float]) -> str:
    """Shares of our time."""
    return ", ".join(f"{stage} {share:.0%}" for stage, share in where.items())


def add(row: dict[str, Any]) -> None:
    """Records a row in the place of an earlier one of its kind on this machine."""

    def identity(row: dict[str, Any]) -> tuple[str, int, str]:
        return row["kind"], row["workers"], record.machine_of(row["title"])

    before = record.read(NAME).get("rows", [])
    rows = [*(each for each in before if identity(each) != identity(row)), row]
    record.write(NAME, {"rows": rows})
    record.write_text("pictures.md", "\n".join(["# From pictures to batches", "", *table(rows)]))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For people."""
    columns = ("pictures", "workers", "ours, images/s", "torchvision", "ratio", "where our time goes", "when")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        speeds = f"{row['ours']:,.0f} | {row['theirs']:,.0f}, {row['their_way']}"
        where = f"{in_words(row['where'])} | {record.where(row['title'])}"
        lines.append(f"| {row['kind']} | {row['workers']} | {speeds} | {Spread(**row['ratio'])} | {where} |")
    return lines


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """JPEG files of these columns and rows, cut from anywhere in two photographs, in two classes."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    columns, rows = size
    for index in range(count):
        photograph = photographs[index % 2]
        left = int(generator.integers(0, photograph.width - columns + 1))
        top = int(generator.integers(0, photograph.height - rows + 1))
        path = folder / "train" / ("first", "second")[index % 2] / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph.crop((left, top, left + columns, top + rows)).save(path, quality=90)


FLOATS = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def measure(kind: Kind, folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Both on the files of a folder."""
    preprocessing = Preprocessing(size=(kind.size, kind.size), channels=3, mean=MEAN, std=STD)
    images = read_folder(DataSource(name="folder", path=str(folder), test_fraction=0.0)).train
    root = folder / "train" if (folder / "train").is_dir() else folder
    plain = ImageFolder(root, v2.Compose([v2.Resize(preprocessing.size), v2.ToImage(), *FLOATS]))
    theirs = {
        "variations of Pillow's pictures": v2.Compose([*kind.variations, v2.ToImage(), *FLOATS]),
        "variations of tensors": v2.Compose([v2.ToImage(), *kind.variations, *FLOATS]),
    }
    ways = {way: ImageFolder(root, transform) for way, transform in theirs.items()}
    return compared(kind, images, preprocessing, ways, plain, workers, rounds)


class InMemory(Dataset[tuple[Tensor, int]]):
    """Pictures in memory, by torchvision's transforms."""

    def __init__(self, images: ImagesInMemory, transform: v2.Transform) -> None:
        self.pixels, self.transform = images.pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), 0


def measure_in_memory(kind: Kind, workers: int, rounds: int) -> dict[str, Any]:
    """Both on pictures of noise."""
    preprocessing = Preprocessing(size=(kind.size, kind.size), channels=3, mean=MEAN, std=STD)
    pixels = torch.randint(0, 256, (MOST, 3, kind.size, kind.size), dtype=torch.uint8)
    images = ImagesInMemory(pixels, torch.zeros(MOST, dtype=torch.long), "noise")
    plain = InMemory(images, v2.Compose(FLOATS))
    ways = {"variations of tensors": InMemory(images, v2.Compose([*kind.variations, *FLOATS]))}
    return compared(kind, images, preprocessing, ways, plain, workers, rounds)


def compared(
    kind: Kind,
    images: Images,
    preprocessing: Preprocessing,
    ways: Mapping[str, Dataset[Any]],
    plain: Dataset[Any],
    workers: int,
    rounds: int,
) -> dict[str, Any]:
    """Images a second of both, their ratio by pairs, and where our time goes."""
    batches = min(len(images), MOST) // BATCH
    order = Order(0, len(images), BATCH)
    indices = torch.cat([order.indices(batch) for batch in range(batches)]).tolist()

    def ours() -> None:
        varied = (preprocessing, kind.augmentation, order, 0, batches, CPU, workers)
        for _ in training_batches(images, *varied):
            pass

    def theirs(pictures: Dataset[Any]) -> None:
        for _ in DataLoader(pictures, BATCH, sampler=indices, num_workers=workers):
            pass

    their_ways = {way: partial(theirs, pictures) for way, pictures in ways.items()}
    seconds = take_turns({"ours": ours, **their_ways}, CPU, rounds, warm_up=1)
    medians = {name: Spread.of(values).median for name, values in seconds.items()}
    best = min(ways, key=medians.__getitem__)
    return {
        "ours": batches * BATCH / medians["ours"],
        "theirs": batches * BATCH / medians[best],
        "their_way": best,
        "ratio": asdict(ratio(seconds[best], seconds["ours"])),
        "ratios": {way: str(ratio(seconds[way], seconds["ours"])) for way in ways},
        "difference": difference(images, preprocessing, plain),
        "where": shares_of_stages(ours) if workers == 0 else {},
    }


def difference(images: Images, preprocessing: Preprocessing, plain: Dataset[Any]) -> float:
    """The largest between one batch of both without variations, in normalised pixels."""
    ours = next(iter(evaluation_batches(images, preprocessing, BATCH, CPU, 0))).images
    theirs = next(iter(DataLoader(plain, BATCH)))[0]
    return float((ours - theirs).abs().max())


if __name__ == "__main__":
    main()
