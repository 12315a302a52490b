"""CIFAR-10 as JPEG files, in a folder or a tar archive: nearly the original pixels, and said to be so."""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from vision_transformers.data.decoding import Stream, decode_pixels
from vision_transformers.data.images import DataSets, ImagesInMemory
from vision_transformers.data.memory import fingerprint
from vision_transformers.errors import DataFailure

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Pixels = UInt8[Tensor, "3 32 32"]


def find_jpeg(folders: Sequence[Path]) -> Path | None:
    """The first `cifar10-jpeg` folder or `cifar10-jpeg.tar.gz` archive in these folders."""
    for folder in folders:
        if (folder / "cifar10-jpeg").is_dir():
            return folder / "cifar10-jpeg"
        if (folder / "cifar10-jpeg.tar.gz").is_file():
            return folder / "cifar10-jpeg.tar.gz"
    return None


def read_jpeg(path: Path) -> DataSets:
    """Decodes all images `train/<class>/*.jpg` and `test/<class>/*.jpg`, in the order of their paths.

    Raises:
        DataFailure: the archive or an image is damaged, or a class is missing.
    """
    pictures = dict(_from_folder(path) if path.is_dir() else _from_archive(path))
    train, test = _part(path, pictures, "train"), _part(path, pictures, "test")
    content = fingerprint(train, test)
    return DataSets(
        train=train,
        validation=None,
        test=test,
        classes=CLASSES,
        description=f"cifar10 in {path}, as JPEG (lossy: not to be compared with the original pixels)",
        listing=content,
        fingerprint=content,
    )


def _from_folder(folder: Path) -> Iterator[tuple[PurePosixPath, Pixels]]:
    for file in folder.glob("*/*/*.jpg"):
        name = PurePosixPath(file.relative_to(folder))
        if _is_picture(name):
            yield name, _pixels(file, folder, name)


def _from_archive(archive: Path) -> Iterator[tuple[PurePosixPath, Pixels]]:
    """Reads an archive through once from its start; nothing is extracted."""
    try:
        with tarfile.open(archive, "r|gz") as opened:
            for member in opened:
                name = PurePosixPath(member.name)
                if member.isreg() and _is_picture(name) and (file := opened.extractfile(member)) is not None:
                    yield name, _pixels(file, archive, name)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataFailure(f"{archive} is damaged ({error}): copy or download it again") from error


def _pixels(file: Path | Stream, origin: Path, name: PurePosixPath) -> Pixels:
    try:
        pixels = decode_pixels(file, channels=3, background=255)
    except DataFailure as failure:
        raise DataFailure(f"{origin} is damaged at {name}: copy or download it again") from failure
    height, width, _ = pixels.shape
    if (height, width) != (32, 32):
        raise DataFailure(
            f"{origin}: {name} has {width} x {height} pixels where CIFAR-10 has 32 x 32: make the files again"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _is_picture(name: PurePosixPath) -> bool:
    return len(name.parts) == 3 and name.suffix == ".jpg" and not name.name.startswith(".")


def _part(
    path: Path, pictures: dict[PurePosixPath, Pixels], part: Literal["train", "test"]
) -> ImagesInMemory:
    names = sorted(name for name in pictures if name.parts[0] == part)
    found = {name.parts[1] for name in names}
    if found != set(CLASSES):
        raise DataFailure(
            f"{path} has the {part} classes {', '.join(sorted(found)) or 'none'}: "
            f"images are expected in {part}/<class>/*.jpg for each of {', '.join(CLASSES)}"
        )
    labels = torch.tensor([CLASSES.index(name.parts[1]) for name in names])
    return ImagesInMemory(torch.stack([pictures[name] for name in names]), labels, f"cifar10 {part}")
