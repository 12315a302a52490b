"""A recipe's data source to the images that a run trains, validates and tests on."""

from dataclasses import replace

from vision_transformers.data.digits import read_digits
from vision_transformers.data.folder import read_folder
from vision_transformers.data.images import DataSets, Images, ImagesInMemory
from vision_transformers.data.memory import preprocess
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.data.splitting import hold_out


def load_data(source: DataSource, preprocessing: Preprocessing) -> DataSets:
    """Finds a data set, splits it, and brings what is held in memory to the model's size and channels.

    Raises:
        DataFailure: the data set is missing, damaged or too small; the message says what to do.
    """
    data = _read(source)
    train, validation = data.train, data.validation
    if validation is None and source.validation_fraction > 0:
        kept, held_out = hold_out(train.labels, data.classes, source.validation_fraction, source.split_seed)
        train, validation = train.select(kept), train.select(held_out)
    found = f"{_counts(train, validation, data.test)}, {len(data.classes)} classes"
    return replace(
        data,
        train=_prepared(train, preprocessing),
        validation=None if validation is None else _prepared(validation, preprocessing),
        test=None if data.test is None else _prepared(data.test, preprocessing),
        description=f"{data.description}: {found}",
    )


def _read(source: DataSource) -> DataSets:
    # Those that torchvision reads import it, which takes as long as torch.
    match source.name:
        case "digits":
            return read_digits()
        case "mnist" | "fashion-mnist":
            from vision_transformers.data.mnist import read_mnist

            return read_mnist(source)
        case "cifar10" | "cifar100":
            from vision_transformers.data.cifar import read_cifar

            return read_cifar(source)
        case "folder":
            return read_folder(source)


def _prepared(images: Images, preprocessing: Preprocessing) -> Images:
    return preprocess(images, preprocessing) if isinstance(images, ImagesInMemory) else images


def _counts(train: Images, validation: Images | None, test: Images | None) -> str:
    parts = {"training": train, "validation": validation, "test": test}
    return ", ".join(f"{len(images):,} {name} images" for name, images in parts.items() if images is not None)
