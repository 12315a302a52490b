"""Tiny runs with everything on that could make a resumed one differ."""

import itertools
import time
from pathlib import Path
from random import Random

import numpy
from PIL import Image
from tests.commands import Vit

MODEL = (
    "--model.patch-shape 4 4 --model.model-dimension 16 --model.number-of-layers 2 --model.number-of-heads 2 "
    "--model.hidden-dimension 16 --model.dropout 0.1 --model.stochastic-depth 0.2"
)
OPTIMISATION = (
    "--optimizer.name muon --accumulation 2 --average-decay 0.9 --label-smoothing 0.1 "
    "--class-weights balanced --keep best --seed 7"
)
AUGMENTATION = (
    "--augmentation.shift 1 --augmentation.flip --augmentation.erasing 0.5 --augmentation.mixup 0.8 "
    "--augmentation.cutmix 1.0"
)
WRITING = "--checkpoint-steps 2 --checkpoint-seconds 0 --log-steps 3 --threads 1"

IN_MEMORY = f"train digits {MODEL} {OPTIMISATION} {AUGMENTATION} {WRITING} --batch-size 128".split()
FROM_FOLDER = (
    f"train digits {MODEL} {OPTIMISATION} {AUGMENTATION} {WRITING} --batch-size 8 "
    "--data.name folder --data.path images --data.validation-fraction 0.2 --model.number-of-classes 3 "
    "--model.number-of-channels 3 --preprocessing.channels 3 "
    "--augmentation.rand-augment 2 --augmentation.color-jitter 0.3 --augmentation.resized-crop 0.5 1.0"
).split()


def make_images(folder: Path, classes: int = 3, count: int = 12) -> None:
    """A folder of PNG files: noise, lighter in each class than in the one before."""
    random = numpy.random.default_rng(0)
    for label in range(classes):
        (folder / f"class-{label}").mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(60 * label, 60 * label + 100, (14, 12, 3), dtype=numpy.uint8)
            Image.fromarray(pixels).save(folder / f"class-{label}" / f"{index}.png")


def result(run: Path) -> tuple[bytes, bytes]:
    """The bytes that are promised to be the same."""
    return (run / "model" / "model.safetensors").read_bytes(), (run / "metrics.jsonl").read_bytes()


def last_step(run: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    last = run / "checkpoints" / "LAST"
    return int(last.read_text().strip().removeprefix("step-")) if last.exists() else 0


def command_to_go_on(run: Path, begin: list[str], workers: int) -> list[str]:
    """What a person types, or a scheduler, after a kill."""
    if (run / "recipe.json").exists():
        return ["train", "--resume", run.name, "--data.workers", str(workers)]
    return [*begin, "--run-folder", run.name, "--data.workers", str(workers)]


def run_through_kills(vit: Vit, run: Path, begin: list[str], kills: int, seed: int) -> None:
    """Runs to the end through that many kills, each time with another number of workers.

    Two of three kills come some moments after a checkpoint, so that the run goes on; the others at any time.
    """
    random = Random(seed)
    workers = itertools.cycle((0, 2))
    for number in range(1, kills + 1):
        before = last_step(run)
        process = vit.start(run.parent, command_to_go_on(run, begin, next(workers)))
        if random.random() < 2 / 3:
            process.until(lambda before=before: last_step(run) > before)  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.03))
        else:
            time.sleep(random.uniform(0, 0.3))
        finished = process.kill()
        assert finished.code == -9, f"it ended before kill {number}: give it more steps\n{finished.errors}"
    finished = vit.run(run.parent, command_to_go_on(run, begin, next(workers)))
    assert finished.code == 0, finished.errors
