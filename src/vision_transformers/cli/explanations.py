"""Brings explanations and what people look at together: from a picture to what is shown of it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vision_transformers.classifier import Classifier
from vision_transformers.data.resizing import resize, seen_part, to_pixels
from vision_transformers.explain.attention_maps import attention_maps
from vision_transformers.explain.faithfulness import faithfulness
from vision_transformers.explain.methods import METHODS
from vision_transformers.report.explanation import ClassMap, Curves, Explanation, MethodMaps
from vision_transformers.report.overlay import shown

LIKELIEST = 5
"""Classes that a page offers."""


def methods_for(classifier: Classifier) -> list[str]:
    """The ways to explain a model: where one patch is the whole picture, nothing is left without it."""
    one_patch = has_one_patch(classifier)
    return [name for name, method in METHODS.items() if not (method.is_slow and one_patch)]


def has_one_patch(classifier: Classifier) -> bool:
    """Whether the model sees a picture as one patch, so that none can be taken away."""
    return classifier.preprocessing.size == classifier.description.model.patch_shape


def explain_picture(
    classifier: Classifier,
    picture: Image.Image,
    name: str,
    methods: Sequence[str],
    label: str | None = None,
    with_choices: bool = False,
) -> Explanation:
    """What the model says of a picture, and why.

    Args:
        classifier: with a head.
        picture: as a person sees it, in the channels of the preprocessing.
        name: what it is called.
        methods: the ways to explain; the first is the one that was asked for.
        label: the class to explain; the guess if not given.
        with_choices: also explain the likeliest classes, and give the attention of every layer and head.
    """
    preprocessing = classifier.preprocessing
    image = classifier.normalised(to_pixels(resize(picture, preprocessing))[None])
    probabilities = classifier.probabilities(classifier.logits(image))[0]
    likeliest = probabilities.argsort(descending=True, stable=True)[:LIKELIEST].tolist()
    chosen = likeliest[0] if label is None else classifier.classes.index(label)
    offered = [chosen, *(place for place in likeliest if place != chosen)] if with_choices else [chosen]
    return Explanation(
        name=name,
        picture=shown(picture),
        box=seen_part(picture, preprocessing),
        guesses=tuple((classifier.classes[place], float(probabilities[place])) for place in likeliest),
        label=classifier.classes[chosen],
        probability=float(probabilities[chosen]),
        methods={method: _maps(classifier, image, method, offered) for method in methods},
        attention=attention_maps(classifier.model, image)[:, 0].cpu().numpy() if with_choices else None,
    )


def _maps(
    classifier: Classifier,
    image: Float[Tensor, "1 channels height width"],
    name: str,
    classes: Sequence[int],
) -> MethodMaps:
    method = METHODS[name]
    asked = torch.tensor(classes[:1] if method.is_slow or not method.is_of_a_class else classes)
    asked = asked.to(image.device)
    maps = method.explain(classifier.model, image.expand(len(asked), -1, -1, -1), asked)
    chosen = torch.tensor(classes[:1], device=image.device)
    result = faithfulness(classifier.model, image, maps[:1], chosen, temperature=classifier.temperature)
    curves = Curves(
        result.fractions.cpu().numpy(),
        result.deletion[0].cpu().numpy(),
        result.insertion[0].cpu().numpy(),
        result.random_deletion[:, 0].cpu().numpy(),
        result.random_insertion[:, 0].cpu().numpy(),
        float(result.advantage()[0]),
    )
    labels = [classifier.classes[place] if method.is_of_a_class else None for place in asked.tolist()]
    shown = (ClassMap(label, each) for label, each in zip(labels, maps.cpu().numpy(), strict=True))
    return MethodMaps(method.words, tuple(shown), curves)


def crops_of_photographs(count: int) -> list[Image.Image]:
    """Squares out of the two photographs that scikit-learn ships, always the same."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    places = np.random.default_rng(0)
    crops = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(places.integers(128, min(photograph.size)))
        left, top = (int(places.integers(0, whole - side + 1)) for whole in photograph.size)
        crops.append(photograph.crop((left, top, left + side, top + side)))
    return crops
