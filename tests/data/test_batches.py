from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.batches import evaluation_batches, on_device, training_batches
from vision_transformers.data.images import ImageFiles, ImagesInMemory
from vision_transformers.data.normalising import normalise
from vision_transformers.data.order import Order
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import DataFailure

CPU = torch.device("cpu")
COUNT = 13
SIZE = Preprocessing(size=(8, 10), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
IN_BATCHES = Augmentation(resized_crop=(0.3, 1.0), rotation=10.0, shift=2, flip=True, erasing=0.5)
SINGLY = replace(IN_BATCHES, rand_augment=2, color_jitter=0.3)
ORDER = Order(seed=7, number_of_images=COUNT, batch_size=4)


@pytest.fixture(scope="module")
def memory():
    pixels = numpy.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 10), dtype=numpy.uint8)
    return ImagesInMemory(torch.from_numpy(pixels), torch.arange(COUNT) % 3, "test images")


@pytest.fixture(scope="module")
def files(memory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = tuple(folder / f"{index:02}.png" for index in range(COUNT))
    for path, pixels in zip(paths, memory.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return ImageFiles(paths, memory.labels)


@pytest.fixture(params=["memory", "memory singly", "files"])
def case(request, memory, files):
    """A source of images with an augmentation, one for each way that batches are made."""
    return {"memory": (memory, IN_BATCHES), "memory singly": (memory, SINGLY), "files": (files, SINGLY)}[
        request.param
    ]


def training(images, augmentation, first=0, last=7, workers=0, order=ORDER, preprocessing=SIZE):
    return list(training_batches(images, preprocessing, augmentation, order, first, last, CPU, workers))


def evaluation(images, batch_size=4, workers=0, preprocessing=SIZE):
    return list(evaluation_batches(images, preprocessing, batch_size, CPU, workers))


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        for name in ("images", "labels", "indices", "valid"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_at_any_batch_gives_the_same_bits(case, workers):
    """A run that was killed and resumed must end as one that was not."""
    whole = training(*case)
    for first in (0, 1, 3, 5) if workers == 0 else (2,):
        assert_equal(training(*case, first=first, workers=workers), whole[first:])


def test_batches_are_full_and_follow_the_order(case):
    images, _ = case
    for number, batch in enumerate(training(*case)):
        assert torch.equal(batch.indices, ORDER.indices(number))
        assert torch.equal(batch.labels, images.labels[batch.indices])
        assert batch.images.shape == (4, 3, 8, 10)
        assert batch.images.dtype == torch.float32
        assert batch.valid.all()


def test_an_image_is_varied_alike_in_any_batch_size(case):
    singles = Order(seed=ORDER.seed, number_of_images=COUNT, batch_size=1)
    alone = {int(batch.indices): batch.images[0] for batch in training(*case, last=COUNT, order=singles)}
    for batch in training(*case, last=3):
        for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
            assert torch.equal(image, alone[index])


def test_epochs_are_varied_differently(case):
    """Else a long run would see each image in one variation only."""
    whole = Order(seed=ORDER.seed, number_of_images=COUNT, batch_size=COUNT)
    first, second = training(*case, last=2, order=whole)
    changed = first.images[first.indices.argsort()] != second.images[second.indices.argsort()]
    assert changed.flatten(1).any(1).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generator_is_neither_used_nor_changed(case, workers):
    """Dropout is seeded by step: a loader that draws from the same generator would shift it."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    training(*case, last=2, workers=workers)
    evaluation(case[0], workers=workers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("crop", ["squash", "center"])
def test_images_in_memory_are_not_cropped_again(memory, crop):
    """They were cropped when they were loaded: a second crop would enlarge them in training only."""
    preprocessing = replace(SIZE, crop=crop, crop_fraction=0.5)
    unchanged = Augmentation(color_jitter=1e-9)
    (batch,) = training(memory, unchanged, last=1, preprocessing=preprocessing)
    assert torch.equal(batch.images, normalise(memory.pixels[batch.indices], preprocessing))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_is_equal_from_memory_and_from_files(memory, files, workers):
    assert_equal(evaluation(memory), evaluation(files, workers=workers))


@pytest.mark.parametrize("batch_size", [1, 4, 13, 32])
def test_evaluation_counts_every_image_once_in_full_batches(memory, files, batch_size):
    """Else the accuracy would count an image twice, or miss one."""
    for images in (memory, files):
        batches = evaluation(images, batch_size)
        assert all(len(batch.images) == len(batch.labels) == batch_size for batch in batches)
        counted = torch.cat([batch.indices[batch.valid] for batch in batches])
        assert counted.tolist() == list(range(COUNT))
        assert all(torch.equal(batch.labels, images.labels[batch.indices]) for batch in batches)


def test_evaluation_does_not_vary_the_images(memory):
    (batch,) = evaluation(memory, COUNT)
    assert torch.equal(batch.images, normalise(memory.pixels, SIZE))


def test_evaluation_of_no_images_gives_no_batches(memory):
    assert evaluation(memory.select(torch.arange(0))) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_named_in_one_message(files, tmp_path, workers):
    """Not buried under the traceback of a worker."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"<html>")
    images = ImageFiles((*files.paths[:5], broken, *files.paths[6:]), files.labels)
    for batches in (
        evaluation_batches(images, SIZE, 4, CPU, workers),
        training_batches(images, SIZE, SINGLY, ORDER, 0, 3, CPU, workers),
    ):
        with pytest.raises(DataFailure) as failure:
            list(batches)
        assert type(failure.value) is DataFailure
        assert str(broken) in str(failure.value)
        assert "Traceback" not in str(failure.value)


def test_batches_before_a_broken_file_still_come(files, tmp_path):
    images = ImageFiles((*files.paths[:-1], tmp_path / "missing.png"), files.labels)
    batches = evaluation_batches(images, SIZE, 4, CPU, workers=2)
    assert [len(next(batches).images) for _ in range(3)] == [4, 4, 4]
    with pytest.raises(DataFailure, match=r"missing\.png"):
        next(batches)


def test_pixels_that_are_on_the_device_are_not_moved_again(memory, files):
    moved = on_device(memory, CPU)
    assert moved.pixels.data_ptr() == on_device(moved, CPU).pixels.data_ptr()
    assert on_device(files, CPU) is files


def test_normalising_gives_pixels_of_zero_to_one_less_the_mean_over_the_deviation(memory):
    expected = memory.pixels.double() / 255
    expected = (expected - torch.tensor(SIZE.mean).view(3, 1, 1)) / torch.tensor(SIZE.std).view(3, 1, 1)
    torch.testing.assert_close(normalise(memory.pixels, SIZE), expected.float())


def test_normalising_gives_the_same_bits_in_batches_of_any_size_and_order_in_memory():
    """Else a picture's probabilities would depend on what else is asked for."""
    pixels = torch.from_numpy(numpy.random.default_rng(0).integers(0, 256, (90, 3, 40, 50), numpy.uint8))
    whole = normalise(pixels, SIZE)
    assert whole.is_contiguous()
    assert torch.equal(normalise(pixels.contiguous(memory_format=torch.channels_last), SIZE), whole)
    for size in (1, 43, 44, 89):
        assert torch.equal(torch.cat([normalise(part, SIZE) for part in pixels.split(size)]), whole)


def test_one_mean_normalises_all_channels(memory):
    one, three = (replace(SIZE, mean=(0.5,) * count, std=(0.2,) * count) for count in (1, 3))
    assert torch.equal(normalise(memory.pixels, one), normalise(memory.pixels, three))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_gets_the_images_that_a_cpu_gets(files, workers):
    gpu = torch.device("cuda")
    batches = training_batches(files, SIZE, SINGLY, ORDER, 0, 3, gpu, workers)
    for batch, expected in zip(batches, training(files, SINGLY, last=3), strict=True):
        assert batch.images.device.type == "cuda"
        torch.testing.assert_close(batch.images.cpu(), expected.images)
        assert torch.equal(batch.labels.cpu(), expected.labels)
