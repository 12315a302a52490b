"""Whether an exported file computes what its classifier does."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vision_transformers.classifier import Classifier
from vision_transformers.data.pictures import read_pictures
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import Failure

RANDOM_BATCHES = (1, 2, 7)
"""Sizes; exporters are known to make a constant of a batch's size."""
BATCH_SIZE = 32
"""Of real pictures."""

Pixels = UInt8[Tensor, "batch channels height width"]
Outputs = dict[str, Float[np.ndarray, "batch _"]]
"""What is computed of a batch, by the names of the graph's outputs."""


@dataclass
class Difference:
    """How far one output is from the classifier's; NaN where one of them is."""

    largest: float = 0.0
    """Largest absolute difference."""
    largest_output: float = 0.0
    """Largest absolute value that the classifier gives."""


@dataclass
class Agreement:
    """How ONNX Runtime and a classifier compare on the same pictures."""

    pictures: int = 0
    same_class: int = 0
    """Pictures whose likeliest class is the same; 0 where there are no classes."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """By the names of the graph's outputs."""

    def add(self, expected: Outputs, found: Outputs) -> None:
        """Counts a batch."""
        self.pictures += len(expected["features"])
        if "logits" in expected:
            self.same_class += int(np.sum(expected["logits"].argmax(1) == found["logits"].argmax(1)))
        for name, values in expected.items():
            difference = self.differences.setdefault(name, Difference())
            # np.maximum, unlike max, keeps NaN.
            difference.largest = float(np.maximum(difference.largest, np.abs(values - found[name]).max()))
            difference.largest_output = float(np.maximum(difference.largest_output, np.abs(values).max()))

    def check(self, tolerance: float) -> None:
        """Compares each difference with the largest output, of which it may be this part.

        Raises:
            Failure: names the first output that differs by more.
        """
        for name, difference in self.differences.items():
            if not difference.largest <= tolerance * difference.largest_output:
                raise Failure(
                    f"ONNX Runtime computes something else than the model: {name} differ by "
                    f"{difference.largest:.1e} where they reach {difference.largest_output:.3g}, and the "
                    f"tolerance is {tolerance:g} of that. Nothing was written"
                )

    def check_guesses(self, least: float) -> None:
        """Compares the part of the pictures whose likeliest class is the same with the least that it may be.

        Raises:
            Failure: it is smaller.
        """
        if self.same_class < least * self.pictures:
            raise Failure(
                f"ONNX Runtime guesses another class for {self.pictures - self.same_class:,} of "
                f"{self.pictures:,} pictures, and {least:.1%} must be the same. Nothing was written"
            )


def verify(content: bytes, classifier: Classifier, pictures: Iterable[Path], tolerance: float) -> Agreement:
    """Compares what a file holds with its classifier, on random pixels and on pictures.

    Returns:
        The agreement on the pictures; where there are none, on the random pixels.

    Raises:
        Failure: ONNX Runtime cannot run the file, or computes something else.
        DataFailure: a picture cannot be read.
    """
    session = _session(content)
    random = _compare(session, classifier, _random(classifier.preprocessing))
    random.check(tolerance)
    real = _compare(session, classifier, _read(pictures, classifier.preprocessing))
    real.check(tolerance)
    return real if real.pictures else random


def verify_guesses(
    content: bytes, classifier: Classifier, pictures: Iterable[Path], least_agreement: float
) -> Agreement:
    """Compares what a file guesses of pictures with what its classifier does.

    Returns:
        The agreement on the pictures.

    Raises:
        Failure: ONNX Runtime cannot run the file, or guesses otherwise for more than that part of them.
        DataFailure: a picture cannot be read.
    """
    session = _session(content)
    _compare(session, classifier, _random(classifier.preprocessing))  # batches of any size can be computed
    agreement = _compare(session, classifier, _read(pictures, classifier.preprocessing))
    agreement.check_guesses(least_agreement)
    return agreement


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise Failure(f"ONNX Runtime cannot read what PyTorch exported: {error}") from error


def _compare(
    session: onnxruntime.InferenceSession, classifier: Classifier, batches: Iterable[Pixels]
) -> Agreement:
    agreement = Agreement()
    names = [output.name for output in session.get_outputs()]
    for pixels in batches:
        found = dict(zip(names, session.run(names, {"pixels": pixels.numpy()}), strict=True))
        agreement.add(_expected(classifier, pixels, names), found)
    return agreement


def _expected(classifier: Classifier, pixels: Pixels, names: list[str]) -> Outputs:
    logits, features = classifier.logits_and_features(classifier.normalised(pixels))
    probabilities = classifier.probabilities(logits)
    outputs = {"probabilities": probabilities, "logits": logits, "features": features}
    return {name: outputs[name].numpy() for name in names}


def _random(preprocessing: Preprocessing) -> Iterator[Pixels]:
    generator = torch.Generator().manual_seed(0)
    for batch in RANDOM_BATCHES:
        shape = (batch, preprocessing.channels, *preprocessing.size)
        yield torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _read(pictures: Iterable[Path], preprocessing: Preprocessing) -> Iterator[Pixels]:
    for batch in read_pictures(pictures, preprocessing, BATCH_SIZE, workers=0):
        for picture in batch:
            if picture.failure is not None:
                raise picture.failure
        yield torch.stack([picture.pixels for picture in batch if picture.pixels is not None])
