"""From the sequence to logits: Equation 4 and the classification head."""

from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization
from vision_transformers.model.pools import FirstToken, FirstTwoTokens, tokens_read


class ClassificationHead(nn.Module):
    """A linear layer on the first token of the sequence (section 3.1), or on what another pool gives.

    Args:
        model_dimension: width of the pooled vector.
        number_of_classes: logits; 0 for none, which gives the pooled vector, or the pre-logits.
        pool: from the sequence to one vector; the first token if not given.
        normalization: on the pooled vector; none if not given.
        pre_logits_dimension: width of a linear layer with tanh before the last; none if not given.
    """

    def __init__(
        self,
        model_dimension: int,
        number_of_classes: int,
        *,
        pool: nn.Module | None = None,
        normalization: nn.Module | None = None,
        pre_logits_dimension: int | None = None,
    ) -> None:
        super().__init__()
        self.pool = FirstToken() if pool is None else pool
        self.normalization = nn.Identity() if normalization is None else normalization
        self.pre_logits = _pre_logits(model_dimension, pre_logits_dimension)
        self.classifier_inputs = pre_logits_dimension or model_dimension
        self.reset_classifier(number_of_classes)

    def reset_classifier(self, number_of_classes: int) -> None:
        """The last layer anew, for other classes, freshly initialised on the CPU."""
        self.classifier = _classifier(self.classifier_inputs, number_of_classes)

    @property
    def tokens_read(self) -> int | None:
        """How many tokens the pool reads, from the first; None for all, or where it does not say."""
        return tokens_read(self.pool)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.logits(self.pooled(sequence))

    def pooled(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch pooled_dimension"]:
        """The one vector that stands for the image, normalised."""
        return self.normalization(self.pool(sequence))

    def logits(self, pooled: Float[Tensor, "batch pooled_dimension"]) -> Float[Tensor, "batch classes"]:
        """Those of a pooled vector."""
        return self.classifier(self.pre_logits(pooled))


class DistillationHead(nn.Module):
    """Two linear layers, on class and distillation token; the logits are their mean (arXiv 2012.12877).

    Args:
        model_dimension: width of a token.
        number_of_classes: logits; 0 for none, which gives the mean of the two tokens.
        normalization: on each of the two tokens; none if not given.
    """

    def __init__(
        self, model_dimension: int, number_of_classes: int, *, normalization: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pool = FirstTwoTokens()
        self.normalization = nn.Identity() if normalization is None else normalization
        self.classifier_inputs = model_dimension
        self.reset_classifier(number_of_classes)

    def reset_classifier(self, number_of_classes: int) -> None:
        """Both last layers anew, as of a `ClassificationHead`."""
        self.classifier = _classifier(self.classifier_inputs, number_of_classes)
        self.distillation_classifier = _classifier(self.classifier_inputs, number_of_classes)

    @property
    def tokens_read(self) -> int | None:
        """As of a `ClassificationHead`: the first two, unless it was given another pool."""
        return tokens_read(self.pool)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch classes"]:
        """The mean of both classifiers' logits."""
        return self.logits(self.pooled(sequence))

    def pooled(
        self, sequence: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch 2*model_dimension"]:
        """Class and distillation token, joined."""
        return self.pool(self.normalization(sequence))

    def logits(self, pooled: Float[Tensor, "batch pooled_dimension"]) -> Float[Tensor, "batch classes"]:
        """Those of both tokens, joined."""
        class_token, distillation_token = pooled.chunk(2, dim=1)
        return (self.classifier(class_token) + self.distillation_classifier(distillation_token)) / 2


def _pre_logits(model_dimension: int, dimension: int | None) -> nn.Module:
    if dimension is None:
        return nn.Identity()
    layer = nn.Linear(model_dimension, dimension)
    initialization.linear_(layer)
    return nn.Sequential(layer, nn.Tanh())


def _classifier(dimension: int, number_of_classes: int) -> nn.Module:
    if not number_of_classes:
        return nn.Identity()
    layer = nn.Linear(dimension, number_of_classes)
    initialization.classifier_(layer)
    return layer
