"""Known data sets arrive exactly as published, from a folder on this disk and without a network."""

import gzip
import hashlib
import os
import pickle
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from vision_transformers.data.cifar_jpeg import CLASSES
from vision_transformers.data.images import ImagesInMemory
from vision_transformers.data.loading import load_data
from vision_transformers.data.places import data_folders, first_writable
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataName, DataSource
from vision_transformers.data.splitting import hold_out, number_held_out
from vision_transformers.errors import DataFailure
from vision_transformers.files import cache_folder

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def whole(name: DataName, root: Path | None = None) -> DataSource:
    """A data set of which nothing is held out to validate."""
    return DataSource(name=name, root=None if root is None else str(root), validation_fraction=0.0)


def in_memory(images: object) -> ImagesInMemory:
    assert isinstance(images, ImagesInMemory)
    return images


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


def make_mnist(folder: Path) -> dict[str, np.ndarray]:
    parts = {
        "train-images-idx3": RANDOM.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "train-labels-idx1": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images-idx3": RANDOM.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1": np.arange(10, dtype=np.uint8),
    }
    for name, values in parts.items():
        write_idx(folder / f"{name}-ubyte", values)
    return parts


def write_pickle(path: Path, value: object) -> str:
    """Writes a batch as CIFAR's makers did; gives its md5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_cifar(
    kind: type[CIFAR10], key: str, classes: Sequence[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """A tiny CIFAR in the original format; only torchvision's checksums are replaced."""
    folder, data = root / kind.base_folder, {}
    for table in ("train_list", "test_list"):
        checksums = []
        for name, _ in getattr(kind, table):
            data[name] = RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8)
            batch = {"data": data[name], key: [index % len(classes) for index in range(4)]}
            checksums.append([name, write_pickle(folder / name, batch)])
        monkeypatch.setattr(kind, table, checksums)
    digest = write_pickle(folder / kind.meta["filename"], {kind.meta["key"]: list(classes)})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": digest})
    return data


@pytest.mark.parametrize(("name", "kind"), [("mnist", MNIST), ("fashion-mnist", FashionMNIST)])
def test_mnist_files_are_read_back_exactly(tmp_path: Path, name: DataName, kind: type[MNIST]) -> None:
    parts = make_mnist(tmp_path / kind.__name__ / "raw")
    data = load_data(whole(name, tmp_path), Preprocessing(channels=1))
    train, test = in_memory(data.train), in_memory(data.test)
    assert np.array_equal(train.pixels.numpy()[:, 0], parts["train-images-idx3"])
    assert np.array_equal(train.labels.numpy(), parts["train-labels-idx1"])
    assert np.array_equal(test.pixels.numpy()[:, 0], parts["t10k-images-idx3"])
    assert np.array_equal(test.labels.numpy(), parts["t10k-labels-idx1"])
    assert data.classes[-1] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[name]
    assert "20 training images, 10 test images, 10 classes" in data.description


def test_archives_beside_a_read_back_are_unpacked_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    make_mnist(raw)
    checksums = []
    for archive, _ in MNIST.resources:
        file = raw / archive.removesuffix(".gz")
        (raw / archive).write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
        checksums.append((archive, hashlib.md5((raw / archive).read_bytes()).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", checksums)
    assert len(load_data(whole("mnist", tmp_path), Preprocessing()).train) == 20


def test_damaged_mnist_files_are_reported(tmp_path: Path) -> None:
    make_mnist(tmp_path / "MNIST" / "raw")
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DataFailure, match=r"files of MNIST in .* are damaged"):
        load_data(DataSource(name="mnist", root=str(tmp_path)), Preprocessing())


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_without_files_and_network_the_message_says_which_files_to_put_where(
    tmp_path: Path, name: DataName
) -> None:
    with pytest.raises(DataFailure) as failure:
        load_data(DataSource(name=name, root=str(tmp_path)), Preprocessing())
    message = str(failure.value)
    file = {
        "mnist": "MNIST/raw/t10k-labels-idx1-ubyte",
        "fashion-mnist": "FashionMNIST/raw/t10k-labels-idx1-ubyte",
        "cifar10": "cifar-10-batches-py/data_batch_5",
        "cifar100": "cifar-100-python/meta",
    }[name]
    assert file in message
    assert str(tmp_path) in message
    assert "no network in tests" in message
    assert "\n" not in message


def test_cifar10_batches_are_read_back_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_cifar(CIFAR10, "labels", CLASSES, tmp_path, monkeypatch)
    source = whole("cifar10", tmp_path)
    data = load_data(source, Preprocessing(size=(32, 32)))
    train, test = in_memory(data.train), in_memory(data.test)
    batches = np.concatenate([original[f"data_batch_{number}"] for number in range(1, 6)])
    assert np.array_equal(train.pixels.numpy().reshape(20, 3072), batches)
    assert np.array_equal(test.pixels.numpy().reshape(4, 3072), original["test_batch"])
    assert train.labels.tolist() == [0, 1, 2, 3] * 5
    assert data.classes == CLASSES


def test_cifar100_has_its_fine_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = [f"fine {index}" for index in range(100)]
    original = make_cifar(CIFAR100, "fine_labels", fine, tmp_path, monkeypatch)
    source = whole("cifar100", tmp_path)
    data = load_data(source, Preprocessing(size=(32, 32)))
    assert data.classes == tuple(fine)
    assert np.array_equal(in_memory(data.train).pixels.numpy().reshape(4, 3072), original["train"])


def test_a_changed_cifar_file_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unpickled:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    make_cifar(CIFAR10, "labels", CLASSES, tmp_path, monkeypatch)
    write_pickle(tmp_path / "cifar-10-batches-py" / "data_batch_1", Unpickled())
    with pytest.raises(DataFailure, match="damaged"):
        load_data(DataSource(name="cifar10", root=str(tmp_path)), Preprocessing())
    assert not (tmp_path / "unpickled").exists()


def make_jpeg(folder: Path) -> Path:
    for part, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                grey = Image.new("RGB", (32, 32), (20 * label + index,) * 3)
                grey.save(folder / part / name / f"{index:04}.jpg")
    return folder


def test_cifar10_as_jpeg_is_the_same_from_a_folder_and_an_archive_and_says_that_it_is_lossy(
    tmp_path: Path,
) -> None:
    folder = make_jpeg(tmp_path / "cifar10-jpeg")
    source = whole("cifar10", tmp_path)
    first = load_data(source, Preprocessing(size=(32, 32)))
    with tarfile.open(tmp_path / "cifar10-jpeg.tar.gz", "w:gz") as archive:
        for file in sorted(folder.rglob("*.jpg"), reverse=True):
            archive.add(file, file.relative_to(folder))
        link = tarfile.TarInfo("train/airplane/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    shutil.rmtree(folder)
    second = load_data(source, Preprocessing(size=(32, 32)))
    assert first.fingerprint == second.fingerprint
    assert torch.equal(in_memory(first.train).pixels, in_memory(second.train).pixels)
    assert in_memory(second.train).pixels[:, 0, 0, 0].tolist() == [
        20 * label + index for label in range(10) for index in (0, 1)
    ]
    assert second.test is not None
    assert second.test.labels.tolist() == list(range(10))
    assert "JPEG (lossy" in second.description


def test_a_broken_archive_or_image_and_a_missing_class_are_reported(tmp_path: Path) -> None:
    source = DataSource(name="cifar10", root=str(tmp_path))
    (tmp_path / "cifar10-jpeg.tar.gz").write_bytes(gzip.compress(b"x" * 5000)[:-10])
    with pytest.raises(DataFailure, match=r"cifar10-jpeg\.tar\.gz is damaged"):
        load_data(source, Preprocessing())
    folder = make_jpeg(tmp_path / "cifar10-jpeg")
    (folder / "train" / "cat" / "0000.jpg").write_bytes(b"broken")
    with pytest.raises(DataFailure, match=r"cifar10-jpeg is damaged at train/cat/0000\.jpg"):
        load_data(source, Preprocessing())
    Image.new("RGB", (32, 32)).save(folder / "train" / "cat" / "0000.jpg")
    shutil.rmtree(folder / "test" / "frog")
    with pytest.raises(DataFailure, match=r"test classes airplane, .* frog"):
        load_data(source, Preprocessing())


def test_digits_are_split_as_scikit_learn_splits_them() -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    expected = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    data = load_data(whole("digits"), Preprocessing(size=(8, 8), channels=1))
    train, test = in_memory(data.train), in_memory(data.test)
    for part, images, labels in ((train, expected[0], expected[2]), (test, expected[1], expected[3])):
        assert np.array_equal(part.pixels.numpy()[:, 0], np.round(images * 255 / 16).astype(np.uint8))
        assert np.array_equal(part.labels.numpy(), labels)


def test_validation_comes_out_of_train_and_the_test_part_stays() -> None:
    preprocessing = Preprocessing(size=(8, 8), channels=1)
    unsplit = load_data(whole("digits"), preprocessing)
    split = load_data(DataSource(), preprocessing)
    other = load_data(DataSource(split_seed=1), preprocessing)
    assert split.validation is not None
    assert other.validation is not None
    assert len(split.train) + len(split.validation) == len(unsplit.train)
    assert torch.equal(in_memory(split.test).pixels, in_memory(unsplit.test).pixels)
    assert not torch.equal(in_memory(split.validation).pixels, in_memory(other.validation).pixels)
    assert unsplit.fingerprint == split.fingerprint == other.fingerprint


def test_images_in_memory_come_in_the_size_and_channels_of_the_model() -> None:
    data = load_data(DataSource(), Preprocessing(size=(16, 12), channels=3))
    original = load_data(DataSource(), Preprocessing(size=(8, 8), channels=1))
    grey = Image.fromarray(in_memory(original.train).pixels[0, 0].numpy())
    expected = np.asarray(grey.resize((12, 16), Image.Resampling.BILINEAR))
    for channel in in_memory(data.train).pixels[0]:
        assert np.array_equal(channel.numpy(), expected)
    assert data.fingerprint == original.fingerprint


def test_a_center_crop_is_cut_also_where_the_size_is_right() -> None:
    cropped = Preprocessing(size=(8, 8), channels=1, crop="center", crop_fraction=0.5)
    uncropped = load_data(DataSource(), Preprocessing(size=(8, 8), channels=1))
    assert not torch.equal(
        in_memory(load_data(DataSource(), cropped).train).pixels, in_memory(uncropped.train).pixels
    )


def test_hold_out_takes_a_share_of_each_class_and_leaves_some() -> None:
    labels = torch.tensor([0] * 20 + [1] * 10 + [2] * 2)
    kept, held_out = hold_out(labels, ["a", "b", "c"], 0.9, seed=0)
    assert labels[held_out].bincount().tolist() == [18, 9, 1]
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(32))
    assert torch.equal(held_out, held_out.sort().values)
    assert all(map(torch.equal, (kept, held_out), hold_out(labels, ["a", "b", "c"], 0.9, seed=0)))
    assert not torch.equal(held_out, hold_out(labels, ["a", "b", "c"], 0.9, seed=1)[1])


def test_the_number_held_out_is_the_nearest_that_leaves_one() -> None:
    assert [number_held_out(images, 0.15) for images in (2, 3, 10, 11, 24)] == [1, 1, 2, 2, 4]
    assert [number_held_out(images, 0.9) for images in (2, 3, 4)] == [1, 2, 3]


def test_each_class_is_held_out_by_a_lot_of_its_own() -> None:
    """Else, of frames of films that are as long, the same places would be held out in all classes."""
    labels = torch.arange(2).repeat_interleave(100)
    _, held_out = hold_out(labels, ["a", "b"], 0.5, seed=0)
    assert held_out[held_out < 100].tolist() != (held_out[held_out >= 100] - 100).tolist()


def test_data_is_looked_for_in_the_root_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISION_TRANSFORMERS_DATA", str(tmp_path / "environment"))
    assert cache_folder() == tmp_path / "cache" / "vision_transformers"
    assert data_folders(DataSource(root=str(tmp_path))) == [tmp_path, cache_folder()]
    assert data_folders(DataSource()) == [tmp_path / "environment", cache_folder()]
    monkeypatch.delenv("VISION_TRANSFORMERS_DATA")
    assert data_folders(DataSource()) == [cache_folder()]


def test_downloads_go_to_the_cache_where_the_root_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert first_writable([tmp_path / "file" / "root", cache_folder()]) == cache_folder()
    assert first_writable([tmp_path / "file" / "root"]) is None


@pytest.mark.skipif(
    not Path(os.environ.get("VISION_TRANSFORMERS_DATA", "/missing"), "MNIST").is_dir(),
    reason="needs MNIST: set VISION_TRANSFORMERS_DATA to the folder that holds MNIST/raw",
)
def test_the_real_mnist_is_whole() -> None:
    data = load_data(whole("mnist"), Preprocessing(channels=1))
    train, test = in_memory(data.train), in_memory(data.test)
    assert train.pixels.shape == (60_000, 1, 28, 28)
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
