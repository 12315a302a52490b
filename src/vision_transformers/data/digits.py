"""The handwritten digits that scikit-learn ships: 1,797 grey images of 8 x 8, no download."""

import torch

from vision_transformers.data.images import DataSets, ImagesInMemory
from vision_transformers.data.memory import fingerprint


def read_digits() -> DataSets:
    """Reads the digits (Alpaydin & Kaynak 1998); the test part is a fifth, stratified, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # The values are counts of 0 to 16 black pixels.
    pixels = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(digits.target).long()
    train, test = train_test_split(
        torch.arange(len(labels)), test_size=0.2, stratify=digits.target, random_state=0
    )
    parts = {
        name: ImagesInMemory(pixels[indices], labels[indices], f"digits {name}")
        for name, indices in (("train", train), ("test", test))
    }
    content = fingerprint(parts["train"], parts["test"])
    return DataSets(
        train=parts["train"],
        validation=None,
        test=parts["test"],
        classes=tuple(str(digit) for digit in range(10)),
        description="digits of scikit-learn",
        listing=content,
        fingerprint=content,
    )
