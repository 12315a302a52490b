"""A model with its preprocessing and class names: what a person loads, asks and saves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vision_transformers.config import differences
from vision_transformers.data.normalising import normalise
from vision_transformers.data.pictures import (
    Picture,
    Pictures,
    ReadPicture,
    one_after_another,
    read_pictures,
)
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import DataFailure, Failure, UsageFailure
from vision_transformers.model.evaluating import evaluating
from vision_transformers.model.low_rank import merged_weights
from vision_transformers.model.vit import ViT
from vision_transformers.prediction import Guess, Prediction
from vision_transformers.runtime.device import resolve_device
from vision_transformers.runtime.precision import Precision, ResolvedPrecision, autocast, resolve_precision
from vision_transformers.weights.class_names import IMAGENET_1K, check_distinct, checked_names, named_classes
from vision_transformers.weights.conversion import (
    Aside,
    PortableModel,
    check_shapes,
    export_model,
    read_aside,
    write_native,
)
from vision_transformers.weights.format_names import NATIVE, check_format
from vision_transformers.weights.formats.table import CONVERT_FIRST, FORMATS, read_as_it_is
from vision_transformers.weights.model_folder import ModelDescription, build, find_model_folder, read_model
from vision_transformers.weights.places import local_path
from vision_transformers.weights.report import Report
from vision_transformers.weights.rewrites import expressible

BATCH_SIZE = 64


@dataclass(frozen=True)
class Outcome:
    """What came of one picture."""

    source: Picture
    prediction: Prediction | None = None
    features: Float[Tensor, " pooled_dimension"] | None = None
    failure: DataFailure | None = None
    """Why the picture could not be read; then there is nothing else."""


class Classifier:
    """A model, ready to be asked.

    In one call the model sees batches of one size, the last filled up: a picture's numbers are then the same
    wherever it stands in the call, on one thread to the bit. With several threads, or in batches of another
    size, PyTorch may sum in another order, which shows in the seventh digit.

    Args:
        model: the network.
        description: its preprocessing, class names and temperature.
        device: where it computes: `auto`, `cpu`, `cuda`, ...
        precision: of its matrix products: `float32`, `bfloat16`, or what suits the device: `auto`,
            `bfloat16-where-native`.
        aside: tensors of the files that it came from without a place in it, for `save`.

    Raises:
        UsageFailure: the device or the precision is not known, or not there.
        Failure: there are more or fewer class names than logits, or the description is of another model.
    """

    def __init__(
        self,
        model: ViT,
        description: ModelDescription,
        device: str | torch.device = "auto",
        precision: Precision = "float32",
        aside: Aside | None = None,
    ) -> None:
        _check_described(model, description)
        _check_named(description.model.number_of_classes, description.classes)
        self.model = model.to(resolve_device(device)).eval()
        self.description = description
        self.asked_precision = precision
        self.precision: ResolvedPrecision = resolve_precision(precision, self.device)
        self.aside = aside

    def __repr__(self) -> str:
        """What it is, on one line."""
        rows, columns = self.preprocessing.size
        return f"<Classifier: {len(self.classes)} classes, images of {rows} x {columns}, on {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> "Classifier":
        """Moves it to another device, where it has the precision that was asked for, and gives it back.

        Raises:
            UsageFailure: the device is not known, or not there.
        """
        self.model.to(resolve_device(device))
        self.precision = resolve_precision(self.asked_precision, self.device)
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.description.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the model's input."""
        return self.description.preprocessing

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax; 1 where none was fitted."""
        return self.description.temperature or 1.0

    @property
    def feature_dimension(self) -> int:
        """Length of the vector that the classification head reads."""
        return self.description.model.pooled_dimension

    def predict(
        self, images: Pictures, top: int = 5, batch_size: int = BATCH_SIZE, workers: int = 0
    ) -> list[Prediction]:
        """Says what pictures show; the same numbers as `vit predict` for the same pictures.

        Args:
            images: one picture, or many: paths, PIL images, arrays and tensors of 8 bits.
            top: how many classes to name for each.
            batch_size: pictures that are computed together, at most.
            workers: processes that decode; 0 decodes in this one.

        Raises:
            DataFailure: a picture cannot be read.
            UsageFailure: the model has no classification head, or a number is less than 1 (of workers: 0).
        """
        if not self.classes:
            raise UsageFailure("this model has no classification head: it gives features only")
        outcomes = _all_read(self.outcomes(images, top, batch_size, workers, with_features=False))
        return [outcome.prediction for outcome in outcomes if outcome.prediction is not None]

    def features(
        self, images: Pictures, batch_size: int = BATCH_SIZE, workers: int = 0
    ) -> Float[Tensor, "images pooled_dimension"]:
        """The vector of each picture that the classification head reads, on the CPU.

        Raises:
            DataFailure: a picture cannot be read.
            UsageFailure: a number makes no sense, as of `predict`.
        """
        outcomes = _all_read(self.outcomes(images, 1, batch_size, workers))
        rows = [outcome.features for outcome in outcomes if outcome.features is not None]
        return torch.stack(rows) if rows else torch.empty(0, self.feature_dimension)

    def outcomes(
        self,
        images: Pictures,
        top: int = 5,
        batch_size: int = BATCH_SIZE,
        workers: int = 0,
        with_features: bool = True,
    ) -> Iterator[Outcome]:
        """Prediction and features of each picture as they come, in order; a failure takes its place.

        Nothing is kept: there may be more pictures than fit into memory.

        Args:
            images: one picture, or many, as of `predict`.
            top: how many classes to name for each.
            batch_size: pictures that are computed together, at most.
            workers: processes that decode; 0 decodes in this one.
            with_features: whether to give features, too, which a head of your own need not have.

        Raises:
            UsageFailure: a number is less than 1 (of workers: 0).
        """
        for name, number, least in (("top", top, 1), ("batch_size", batch_size, 1), ("workers", workers, 0)):
            if number < least:
                raise UsageFailure(f"{name} is {number}: expected {least} or more")
        batches = read_pictures(one_after_another(images), self.preprocessing, batch_size, workers)
        return self._outcomes(batches, top, with_features)

    def outcomes_of(
        self, batch: list[ReadPicture], top: int, batch_size: int, with_features: bool = True
    ) -> list[Outcome]:
        """The outcomes of one batch of read pictures, filled up to `batch_size` with its first readable."""
        readable = [picture.pixels for picture in batch if picture.pixels is not None]
        if not readable:
            return [Outcome(picture.source, failure=picture.failure) for picture in batch]
        filled = torch.stack(readable + readable[:1] * (batch_size - len(readable)))
        logits, features = self._outputs(filled, with_features)
        predictions = self._predictions(logits, top) if self.classes else [None] * batch_size
        results = iter(zip(predictions, features, strict=True))
        return [
            Outcome(picture.source, failure=picture.failure)
            if picture.pixels is None
            else Outcome(picture.source, *next(results))
            for picture in batch
        ]

    def inputs(self, images: Pictures) -> Float[Tensor, "images channels height width"]:
        """Pictures as the model reads them: at its size, normalised, on its device.

        Args:
            images: one picture, or many, as of `predict`.

        Raises:
            DataFailure: one cannot be read.
        """
        rows = []
        for batch in read_pictures(one_after_another(images), self.preprocessing, BATCH_SIZE, workers=0):
            for picture in batch:
                if picture.failure is not None:
                    raise picture.failure
            rows += [picture.pixels for picture in batch if picture.pixels is not None]
        nothing = torch.empty(0, self.preprocessing.channels, *self.preprocessing.size, dtype=torch.uint8)
        return self.normalised(torch.stack(rows) if rows else nothing)

    def normalised(
        self, pixels: UInt8[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """Pixels that have the model's size and channels already, as the model reads them, on its device."""
        # Of whatever module is in the model's place, such as one that shares out a batch.
        weight = next(filter(torch.is_floating_point, self.model.parameters()))
        return normalise(pixels.to(self.device), self.preprocessing).to(weight.dtype)

    def logits(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images on the device: what the model gives when it is called."""
        with torch.no_grad(), evaluating(self.model), autocast(self.precision, self.device):
            return self.model(images).float()

    def logits_and_features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch pooled_dimension"]]:
        """Logits, and the vector that the head makes them of, of normalised images on the device.

        With a head of your own in place, which need not pool, only `logits` is to be had.
        """
        with torch.no_grad(), evaluating(self.model), autocast(self.precision, self.device):
            logits, features = self.model.logits_and_features(images)
        return logits.float(), features.float()

    def probabilities(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Their softmax, at the model's temperature where it has one."""
        return (logits / self.temperature).softmax(dim=1)

    def reset_classes(self, names: Sequence[str]) -> None:
        """Puts a freshly initialised last layer in place, for other classes, of which it knows nothing yet.

        The rest of the model stays, to be trained as any `nn.Module`; the temperature goes, and what was
        measured of the old layer.

        Raises:
            UsageFailure: the names are no list of different strings; nothing is changed.
        """
        classes = checked_names(names)
        check_distinct(classes)
        self.model.reset_classifier(len(classes))
        self.description = self.description.under_another_head(self.model.config, classes)

    def save(self, path: Path | str, format: str = NATIVE) -> None:
        """Writes a folder, from which `load` gives this classifier again, with what was kept aside.

        Low-rank matrices are merged into the weights beside them.

        Args:
            path: it is made.
            format: `native` is this project's model folder; of others, as of `vit convert`, what they cannot
                say is in the log.

        Raises:
            UsageFailure: there is something already; the format is not known, or cannot express the model.
            Failure: the model is no longer the one that the description describes; nothing is written. So
                with one from `torch.compile(model)`: `model.compile()` leaves the weights their names.
        """
        folder = Path(path)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageFailure(f"{folder} is there already: choose another path, or remove it first")
        weights = merged_weights(self.model)
        check_shapes(weights, self.description.model, "the model")
        model = PortableModel(weights, self.description, self.aside)
        if format == NATIVE:
            write_native(folder, model)
        else:
            _write_foreign(folder, model, format)

    def _outcomes(
        self, batches: Iterator[list[ReadPicture]], top: int, with_features: bool
    ) -> Iterator[Outcome]:
        size_of_first = 0
        for batch in batches:
            size_of_first = size_of_first or len(batch)
            yield from self.outcomes_of(batch, top, size_of_first, with_features)

    def _outputs(
        self, pixels: UInt8[Tensor, "batch channels height width"], with_features: bool
    ) -> tuple[Float[Tensor, "batch classes"], Sequence[Float[Tensor, " pooled_dimension"] | None]]:
        images = self.normalised(pixels)
        if not with_features:
            return self.logits(images).cpu(), [None] * len(images)
        logits, features = self.logits_and_features(images)
        return logits.cpu(), features.cpu().unbind()

    def _predictions(self, logits: Float[Tensor, "batch classes"], top: int) -> list[Prediction]:
        _check_named(logits.shape[1], self.classes)
        # Among equal logits the first class goes first, as argmax has it.
        indices = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
        probabilities = self.probabilities(logits).gather(1, indices)
        return [
            Prediction(
                tuple(Guess(self.classes[place], place, probability) for place, probability in guesses)
            )
            for guesses in (
                zip(*row, strict=True) for row in zip(indices.tolist(), probabilities.tolist(), strict=True)
            )
        ]


def _all_read(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """The same; the first picture that cannot be read ends it."""
    for outcome in outcomes:
        if outcome.failure is not None:
            raise outcome.failure
        yield outcome


def _check_named(logits: int, names: Sequence[str]) -> None:
    if logits != len(names):
        raise Failure(
            f"the model has {logits} classes, but {len(names)} class names: give as many to "
            "load(classes=...), or once and for all to `vit convert` with --classes FILE. For those of "
            f"ImageNet, give {IMAGENET_1K!r}; for a new last layer, give names of the old one, such as "
            f"[str(i) for i in range({logits})], and call reset_classes(names)"
        )


def _check_described(model: ViT, description: ModelDescription) -> None:
    contradictions = differences(model.config, description.model)
    if contradictions:
        listed = "\n  ".join(f"{name} is {own!r}, not {said!r}" for name, own, said in contradictions)
        raise Failure(f"the model is another than its description describes:\n  {listed}")


def load(
    path: Path | str,
    format: str = NATIVE,
    device: str | torch.device = "auto",
    precision: Precision = "float32",
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Reads a model and what belongs to it; warns, in the log, of what others' files do not tell.

    Args:
        path: a run folder or a model folder; of other formats, a file of weights or a folder with one. Or, of
            any format, `hf:OWNER/NAME@REVISION` on the Hugging Face Hub.
        format: whose files they are: `native` is this project's model folder; else as of `vit convert`.
        device: where the model computes: `auto`, `cpu`, `cuda`, ...
        precision: of its matrix products: `float32`, `bfloat16`, `auto` (bfloat16 on GPUs that compute in
            it), `bfloat16-where-native` (on such CPUs, too).
        classes: class names, in the order of the logits, where the files have none, or others; `imagenet-1k`
            stands for ImageNet's.

    Raises:
        UsageFailure: there is no model at that path, its format is not known, or it is of another; the
            device or the precision is not known, or not there; class names are no strings.
        Failure: its files are damaged, or hold tensors that nobody knows.
    """
    if format == NATIVE:
        folder = find_model_folder(local_path(str(path)))
        (model, description), aside = read_model(folder), read_aside(folder)
    else:
        read = _read_foreign(path, format)
        model, description, aside = build(read.description.model, read.weights), read.description, read.aside
    if classes is not None:
        names = named_classes(classes) if isinstance(classes, str) else checked_names(classes)
        description = replace(description, classes=names)
    return Classifier(model, description, device, precision, aside)


def _write_foreign(folder: Path, model: PortableModel, format: str) -> None:
    check_format(format)
    report, written_as = Report(), FORMATS[format]
    model = expressible(model, written_as, report)
    export_model(folder, model, written_as, report, lambda _: report.check(("positions",)))
    report.log_notes(folder)


def _read_foreign(path: Path | str, format: str) -> PortableModel:
    report = Report()
    read = read_as_it_is(local_path(str(path)), format, report)
    report.check((), CONVERT_FIRST)
    report.log_notes(path)
    # Read, they may be mapped to their file; of a model that lives on, what becomes of it does not matter.
    aside = None if read.aside is None else replace(read.aside, tensors=_cloned(read.aside.tensors))
    return replace(read, weights=_cloned(read.weights), aside=aside)


def _cloned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
