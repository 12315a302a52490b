import os
import signal

import numpy
import pytest
import torch
from PIL import Image
from torch.multiprocessing import active_children

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.images import ImageFiles
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.reading import Variation, read_batches

POSITIONS = [(0, [2, 0]), (0, [1, 1]), (5, [0, 2])]


@pytest.fixture
def files(tmp_path):
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    for index, path in enumerate(paths):
        pixels = numpy.random.default_rng(index).integers(0, 256, (20, 30, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).save(path)
    return ImageFiles(paths, torch.arange(3))


def read(files, workers, positions=POSITIONS):
    variation = Variation(Augmentation(resized_crop=(0.2, 1.0), rand_augment=2, erasing=0.5), seed=4)
    return read_batches(files, positions, Preprocessing(), variation, torch.device("cpu"), workers)


def test_batches_come_in_their_order_and_alike_from_any_number_of_workers(files):
    alone = list(read(files, workers=0))
    assert [indices.tolist() for _, indices in alone] == [[2, 0], [1, 1], [0, 2]]
    for workers in (1, 2):
        for (pixels, indices), (expected, order) in zip(read(files, workers), alone, strict=True):
            assert torch.equal(pixels, expected)
            assert torch.equal(indices, order)


def test_one_image_is_varied_otherwise_in_another_epoch(files):
    positions = [(epoch, [1]) for epoch in (0, 1)]
    (first, _), (second, _) = read(files, workers=0, positions=positions)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_all_processes_does_not_end_the_workers(files, name):
    """Ctrl-C and schedulers signal every process: the main one saves first, and needs its workers to."""
    others = set(active_children())
    batches = read(files, workers=2, positions=POSITIONS * 5)
    first, second = next(batches), next(batches)  # one from each: both workers have started
    assert first[1].tolist() != second[1].tolist()
    workers = set(active_children()) - others
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, getattr(signal, name))
    assert len(list(batches)) == len(POSITIONS) * 5 - 2


def test_workers_end_when_the_batches_are_no_longer_needed(files):
    others = set(active_children())
    batches = read(files, workers=2, positions=POSITIONS * 50)
    next(batches)
    batches.close()
    assert set(active_children()) <= others
