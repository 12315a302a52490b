"""MNIST and Fashion-MNIST: 60,000 grey images of 28 x 28 to train, 10,000 to test, in ten classes."""

from typing import Any

from torchvision.datasets import MNIST, FashionMNIST

from vision_transformers.data import published
from vision_transformers.data.images import DataSets, ImagesInMemory
from vision_transformers.data.memory import fingerprint
from vision_transformers.data.places import data_folders
from vision_transformers.data.source import DataSource


def read_mnist(source: DataSource) -> DataSets:
    """Reads MNIST (LeCun et al. 1998) or Fashion-MNIST (Xiao et al. 2017), in the original pixels.

    Raises:
        DataFailure: its files are damaged, or neither found nor downloaded.
    """
    kind = FashionMNIST if source.name == "fashion-mnist" else MNIST
    files = [f"{kind.__name__}/raw/{archive.removesuffix('.gz')}" for archive, _ in kind.resources]
    folders = data_folders(source)
    folder = published.find(files, folders) or published.download(kind, files, folders)
    first, second = published.read(kind, folder)
    train, test = _in_memory(first, f"{source.name} train"), _in_memory(second, f"{source.name} test")
    content = fingerprint(train, test)
    return DataSets(
        train=train,
        validation=None,
        test=test,
        classes=tuple(str(digit) for digit in range(10)) if kind is MNIST else tuple(kind.classes),
        description=f"{source.name} in {folder}",
        listing=content,
        fingerprint=content,
    )


def _in_memory(images: Any, origin: str) -> ImagesInMemory:
    return ImagesInMemory(images.data[:, None], images.targets.long(), origin)
