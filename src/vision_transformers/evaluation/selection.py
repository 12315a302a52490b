"""Which images say most about a model: those that a person should look at first."""

from jaxtyping import Float, Int
from torch import Tensor

from vision_transformers.evaluation.judgement import Judgement


def worst_mistakes(
    probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], most: int
) -> Int[Tensor, " found"]:
    """Places of wrong guesses, the surest first."""
    confidence, guesses = probabilities.max(dim=1)
    order = confidence.argsort(descending=True, stable=True)
    return order[(guesses != labels)[order]][:most]


def least_certain(probabilities: Float[Tensor, "images classes"], most: int) -> Int[Tensor, " found"]:
    """Places of the guesses with the least probability, the least first."""
    return probabilities.max(dim=1).values.argsort(stable=True)[:most]


def won_from(judgement: Judgement, baseline: Judgement, most: int) -> Int[Tensor, " found"]:
    """Places of images that are guessed right, and by the baseline wrong, of the same images in their order.

    Those come first whose label the baseline gave so much less than this one did.
    """
    gain = judgement.probability_of_label - baseline.probability_of_label
    order = gain.argsort(descending=True, stable=True)
    return order[(judgement.is_right & ~baseline.is_right)[order]][:most]
