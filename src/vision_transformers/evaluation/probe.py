"""What frozen features are worth: a simple classifier on top of them, fitted to the training images."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.classifier import Classifier
from vision_transformers.data.batches import evaluation_batches
from vision_transformers.data.images import Images
from vision_transformers.runtime.precision import autocast

Probe = Literal["knn", "linear"]
NEIGHBOURS = 20
ITERATIONS = 1000

Features = dict[str, Float[Tensor, "images dimension"]]
"""By which tokens they are made of: `class`, `mean` (of the patches), and both joined, `class-mean`."""


def probe(
    classifier: Classifier, kind: Probe, train: Images, judged: Images, batch_size: int, workers: int
) -> dict[str, float]:
    """The accuracy (0 to 1) on `judged` of a probe that was fitted to `train`, by which features it reads.

    `knn` asks the 20 nearest training images by cosine (all there are, if fewer), each with an equal vote.
    `linear` is logistic regression on features of mean 0 and variance 1, with scikit-learn's regularisation.
    A model without a class token has `mean` only.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    known, asked = (features(classifier, images, batch_size, workers) for images in (train, judged))
    labels, truth = train.labels.cpu().numpy(), judged.labels.cpu().numpy()
    return {
        name: float((_FITTED[kind](known[name].numpy(), labels).predict(asked[name].numpy()) == truth).mean())
        for name in known
    }


def features(classifier: Classifier, images: Images, batch_size: int, workers: int) -> Features:
    """Features of all images, of the tokens after the final norm, on the CPU."""
    rows: dict[str, list[Tensor]] = {}
    for batch in evaluation_batches(images, classifier.preprocessing, batch_size, classifier.device, workers):
        with torch.inference_mode(), autocast(classifier.precision, classifier.device):
            tokens, _ = classifier.model.features(batch.images)
        for name, values in _pooled(tokens.float(), classifier).items():
            rows.setdefault(name, []).append(values[batch.valid].cpu())
    return {name: torch.cat(values) for name, values in rows.items()}


def _pooled(tokens: Float[Tensor, "batch tokens dimension"], classifier: Classifier) -> Features:
    config = classifier.description.model
    mean = tokens[:, config.number_of_prefix_tokens :].mean(dim=1)
    if not config.class_token:
        return {"mean": mean}
    return {"class": tokens[:, 0], "mean": mean, "class-mean": torch.cat([tokens[:, 0], mean], dim=1)}


def _nearest_neighbours(
    features: Float[np.ndarray, "images dimension"], labels: Int[np.ndarray, " images"]
) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(NEIGHBOURS, len(labels))
    return KNeighborsClassifier(neighbours, metric="cosine").fit(features, labels)


def _logistic_regression(
    features: Float[np.ndarray, "images dimension"], labels: Int[np.ndarray, " images"]
) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS)).fit(features, labels)


_FITTED: dict[Probe, Callable[[Any, Any], Any]] = {"knn": _nearest_neighbours, "linear": _logistic_regression}
