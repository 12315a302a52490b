"""How faithful each way to explain is: deletion and insertion beside random orders, on 500 pictures.

    python -m benchmarks.explanations --model NAME=MODEL=DATA ... [--images N] [--threads N]

MODEL is a run or a model folder; DATA is mnist, a folder of pictures by class, or `photographs`: crops of the
two photographs that scikit-learn ships, for which there are no labels. What is explained is the class that
the model guesses. Writes the table under benchmarks/results.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import record
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vision_transformers.classifier import Classifier, load
from vision_transformers.data.loading import load_data
from vision_transformers.data.normalising import normalise
from vision_transformers.data.pictures import read_pictures
from vision_transformers.data.source import DataSource
from vision_transformers.explain.faithfulness import Faithfulness, faithfulness
from vision_transformers.explain.methods import METHODS
from vision_transformers.explain.removal import Removal

REMOVALS: tuple[Removal, ...] = ("drop", "mean", "blur")
BATCH_SIZE = 50


def main() -> None:
    """Measures all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=MODEL=DATA")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for each in options.model:
        name, model, data = each.split("=")
        classifier = load(model, device="cpu")
        images = pictures(classifier, data, options.images)
        random: dict[tuple[int, str], Faithfulness] = {}
        for method in METHODS:
            for row in measure(classifier, images, method, random):
                rows.append({"data": name, "images": len(images), "method": method, **row})
                print(line(rows[-1]), flush=True)
        write(rows)


def pictures(classifier: Classifier, data: str, count: int) -> Float[Tensor, "images channels height width"]:
    """The first test pictures in an order that mixes the classes, or crops of photographs; normalised."""
    preprocessing = classifier.preprocessing
    generator = np.random.default_rng(0)
    sources: list[Any]
    if data == "photographs":
        sources = crops(count, generator)
    elif data == "mnist":
        test = load_data(DataSource(name="mnist"), preprocessing).test
        chosen = torch.from_numpy(generator.permutation(len(test))[:count])  # type: ignore[arg-type]
        return normalise(test.pixels[chosen], preprocessing)  # type: ignore[union-attr]
    else:
        files = sorted((Path(data) / "test").glob("*/*"))
        sources = [files[index] for index in generator.permutation(len(files))[:count]]
    read = [picture for batch in read_pictures(sources, preprocessing, 64, 0) for picture in batch]
    return normalise(
        torch.stack([picture.pixels for picture in read if picture.pixels is not None]), preprocessing
    )


def crops(count: int, generator: np.random.Generator) -> list[Image.Image]:
    """Squares of 64 to 400 pixels, anywhere in the two photographs."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    found = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        side = int(generator.integers(64, 400))
        left = int(generator.integers(0, photograph.width - side))
        top = int(generator.integers(0, photograph.height - side))
        found.append(photograph.crop((left, top, left + side, top + side)))
    return found


def measure(
    classifier: Classifier,
    images: Float[Tensor, "images channels height width"],
    method: str,
    random: dict[tuple[int, str], Faithfulness],
) -> list[dict[str, Any]]:
    """Areas and advantage with their 95 % intervals, for each way of removal.

    Random orders are the same for all methods, and computed with the first: `random` keeps them by batch.
    """
    areas: dict[Removal, list[dict[str, Tensor]]] = {removal: [] for removal in REMOVALS}
    seconds = 0.0
    for number, batch in enumerate(images.split(BATCH_SIZE)):
        with torch.no_grad():
            guesses = classifier.model(batch).argmax(dim=1)
        began = time.perf_counter()
        maps = METHODS[method].explain(classifier.model, batch, guesses)
        seconds += time.perf_counter() - began
        for removal in REMOVALS:
            beside = random.get((number, removal))
            result = faithfulness(classifier.model, batch, maps, guesses, removal, beside=beside)
            random.setdefault((number, removal), result)
            of_batch = result.areas()
            areas[removal].append(
                {
                    "deletion": of_batch["deletion"],
                    "insertion": of_batch["insertion"],
                    "random": of_batch["random_deletion"].mean(dim=0),
                    "advantage": result.advantage(),
                }
            )
    rows = []
    for removal, batches in areas.items():
        row: dict[str, Any] = {"removal": removal, "milliseconds_per_image": 1000 * seconds / len(images)}
        for name in ("deletion", "insertion", "random", "advantage"):
            values = torch.cat([batch[name] for batch in batches])
            row[name] = float(values.mean())
            row[f"{name}_interval"] = float(1.96 * values.std() / len(values) ** 0.5)
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    numbers = [
        f"{row[name]:.3f} ± {row[f'{name}_interval']:.3f}"
        for name in ("deletion", "insertion", "random", "advantage")
    ]
    return f"| {row['data']} | {row['removal']} | {row['method']} | {' | '.join(numbers)} |"


def write(rows: list[dict[str, Any]]) -> None:
    """The table for people and programs."""
    title = record.title(torch.device("cpu"))
    head = "| data | removal | method | deletion | insertion | random | advantage |\n" + "|---" * 7 + "|"
    text = "\n".join([f"# Explanations\n\n{title}\n", head, *map(line, rows)])
    record.write_text("explanations.md", text)
    record.write("explanations.json", {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
