"""CIFAR-10 and CIFAR-100: 50,000 colour images of 32 x 32 to train, 10,000 to test."""

from typing import Any

import torch
from torchvision.datasets import CIFAR10, CIFAR100

from vision_transformers.data import published
from vision_transformers.data.cifar_jpeg import find_jpeg, read_jpeg
from vision_transformers.data.images import DataSets, ImagesInMemory
from vision_transformers.data.memory import fingerprint
from vision_transformers.data.places import data_folders
from vision_transformers.data.source import DataSource


def read_cifar(source: DataSource) -> DataSets:
    """Reads CIFAR-10 or CIFAR-100 (Krizhevsky 2009), in the original pixels where these are found.

    Where CIFAR-10 lies in the data folders as JPEG files alone, those are read, and the description says so.

    Raises:
        DataFailure: its files are damaged, or neither found nor downloaded.
    """
    kind = CIFAR100 if source.name == "cifar100" else CIFAR10
    names = [name for name, _ in [*kind.train_list, *kind.test_list]] + [kind.meta["filename"]]
    files = [f"{kind.base_folder}/{name}" for name in names]
    folders = data_folders(source)
    folder = published.find(files, folders)
    if folder is None and kind is CIFAR10 and (jpeg := find_jpeg(folders)) is not None:
        return read_jpeg(jpeg)
    folder = folder or published.download(kind, files, folders)
    first, second = published.read(kind, folder)
    train, test = _in_memory(first, f"{source.name} train"), _in_memory(second, f"{source.name} test")
    content = fingerprint(train, test)
    return DataSets(
        train=train,
        validation=None,
        test=test,
        classes=tuple(first.classes),
        description=f"{source.name} in {folder}",
        listing=content,
        fingerprint=content,
    )


def _in_memory(images: Any, origin: str) -> ImagesInMemory:
    pixels = torch.from_numpy(images.data).permute(0, 3, 1, 2).contiguous()
    return ImagesInMemory(pixels, torch.tensor(images.targets), origin)
